/**
 * The C library: every symbol this program calls, with its prototype. A library is opened at
 * the first call of its function here, never on import.
 *
 * How C types are declared:
 * - A 64-bit parameter is `u64`/`i64` and takes a bigint: a Number there makes V8 give up
 *   optimising the caller for good.
 * - size_t, nfds_t and unsigned long whose values fit are `u32`: on x86-64 and arm64 the
 *   argument travels in a 64-bit register, and writing its 32-bit half clears the other half.
 * - ssize_t results are `i32`: no call here moves 2 GiB or more, and -1 stays -1 in the low half.
 * - An address is `u64`; it keeps no buffer alive. `buffer` does, for the length of the call.
 * - Variadic functions take integers and pointers only; on both machines these travel like
 *   ordinary arguments.
 *
 * Source: the manual pages named by the symbols, sections 2 and 3, of Linux and FreeBSD.
 * @module
 */

const COMMON = {
  // int open(const char *path, int flags, mode_t mode)
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  // int close(int fd)
  close: { parameters: ["i32"], result: "i32" },
  // int fcntl(int fd, int cmd, int arg)
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ioctl(int fd, unsigned long request, void *argument)
  ioctl: { parameters: ["i32", "u32", "buffer"], result: "i32" },
  // int flock(int fd, int operation)
  flock: { parameters: ["i32", "i32"], result: "i32" },
  // int ftruncate(int fd, off_t length)
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  // ssize_t read(int fd, void *buf, size_t count)
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // ssize_t write(int fd, const void *buf, size_t count)
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // ssize_t pread(int fd, void *buf, size_t count, off_t offset)
  pread: { parameters: ["i32", "u64", "u32", "i64"], result: "i32" },
  // ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)
  pwrite: { parameters: ["i32", "u64", "u32", "i64"], result: "i32" },
  // int fdatasync(int fd)
  fdatasync: { parameters: ["i32"], result: "i32" },
  // int dup2(int old_fd, int new_fd)
  dup2: { parameters: ["i32", "i32"], result: "i32" },
  // int pipe2(int fds[2], int flags)
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  // int poll(struct pollfd *fds, nfds_t nfds, int timeout)
  poll: { parameters: ["u64", "u32", "i32"], result: "i32" },
  // The same on a thread of the pool; errno is lost, so that only "ready" and "not" can be told.
  pollLater: {
    name: "poll",
    parameters: ["buffer", "u32", "i32"],
    result: "i32",
    nonblocking: true,
  },
  // int socket(int domain, int type, int protocol)
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int bind(int fd, const struct sockaddr *address, socklen_t size)
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // int connect(int fd, const struct sockaddr *address, socklen_t size)
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  // ssize_t recv(int fd, void *buf, size_t len, int flags)
  recv: { parameters: ["i32", "u64", "u32", "i32"], result: "i32" },
  recvBuffer: { name: "recv", parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  // ssize_t send(int fd, const void *buf, size_t len, int flags)
  send: { parameters: ["i32", "u64", "u32", "i32"], result: "i32" },
  sendBuffer: { name: "send", parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  // ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
  sendmsg: { parameters: ["i32", "u64", "i32"], result: "i32" },
  // int shutdown(int fd, int how)
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  // int getsockname(int fd, struct sockaddr *address, socklen_t *size)
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int getpeername(int fd, struct sockaddr *address, socklen_t *size)
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  // int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  // int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  // void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
  mmap: { parameters: ["u64", "u64", "i32", "i32", "i32", "i64"], result: "u64" },
  // int munmap(void *address, size_t length)
  munmap: { parameters: ["u64", "u64"], result: "i32" },
  // pid_t getpid(void)
  getpid: { parameters: [], result: "i32" },
  // int kill(pid_t pid, int signal)
  kill: { parameters: ["i32", "i32"], result: "i32" },
  // mode_t umask(mode_t mask)
  umask: { parameters: ["u32"], result: "u32" },
  // int chdir(const char *path)
  chdir: { parameters: ["buffer"], result: "i32" },
  // pid_t setsid(void)
  setsid: { parameters: [], result: "i32" },
  // void openlog(const char *ident, int option, int facility)
  openlog: { parameters: ["u64", "i32", "i32"], result: "void" },
  // void syslog(int priority, const char *format, ... one const char *)
  syslog: { parameters: ["i32", "buffer", "buffer"], result: "void" },
  // void closelog(void)
  closelog: { parameters: [], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

const LINUX = {
  // int *__errno_location(void)
  __errno_location: { parameters: [], result: "pointer" },
  // int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *buf)
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  // int fallocate(int fd, int mode, off_t offset, off_t length)
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  // int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  // int prctl(int option, unsigned long arg2, ... arg5): only with a pointer as arg2
  prctl: { parameters: ["i32", "buffer", "u32", "u32", "u32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const FREEBSD = {
  // int *__error(void)
  __error: { parameters: [], result: "pointer" },
  // int fstat(int fd, struct stat *buf)
  fstat: { parameters: ["i32", "buffer"], result: "i32" },
  // void setproctitle(const char *format, ... one const char *)
  setproctitle: { parameters: ["buffer", "buffer"], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The operating systems this program runs on. */
export type SupportedOs = "linux" | "freebsd";

/**
 * The operating system of this host.
 *
 * @throws {Error} It is neither Linux nor FreeBSD.
 */
export function hostOs(): SupportedOs {
  const os = Deno.build.os;
  if (os === "linux" || os === "freebsd") return os;
  throw new Error(`Cannot run on ${os}: only Linux and FreeBSD are supported`);
}

const FILE_NAME: Record<SupportedOs, string> = { linux: "libc.so.6", freebsd: "libc.so.7" };

let common: Deno.DynamicLibrary<typeof COMMON> | undefined;
let linux: Deno.DynamicLibrary<typeof LINUX> | undefined;
let freebsd: Deno.DynamicLibrary<typeof FREEBSD> | undefined;
let errnoCell: Int32Array | undefined;

function openErrnoCell(): Int32Array {
  const pointer = hostOs() === "linux" ? linuxLibc().__errno_location() : freebsdLibc().__error();
  if (pointer === null) throw new Error("Cannot find errno: the C library returned null");
  return new Int32Array(Deno.UnsafePointerView.getArrayBuffer(pointer, 4));
}

/** What both systems have. */
export function libc(): Deno.DynamicLibrary<typeof COMMON>["symbols"] {
  if (common === undefined) {
    common = Deno.dlopen(FILE_NAME[hostOs()], COMMON);
    // Now, so that finding the cell does not overwrite the errno of the coming call.
    errnoCell ??= openErrnoCell();
  }
  return common.symbols;
}

/** What only Linux has. */
export function linuxLibc(): Deno.DynamicLibrary<typeof LINUX>["symbols"] {
  if (linux === undefined) {
    linux = Deno.dlopen(FILE_NAME.linux, LINUX);
    errnoCell ??= openErrnoCell();
  }
  return linux.symbols;
}

/** What only FreeBSD has. */
export function freebsdLibc(): Deno.DynamicLibrary<typeof FREEBSD>["symbols"] {
  if (freebsd === undefined) {
    freebsd = Deno.dlopen(FILE_NAME.freebsd, FREEBSD);
    errnoCell ??= openErrnoCell();
  }
  return freebsd.symbols;
}

/** errno of this thread, the host's number; `lastErrno()` of errno.ts is what callers want. */
export function hostErrno(): number {
  errnoCell ??= openErrnoCell();
  return errnoCell[0] ?? 0;
}

/** `text` as C has it: UTF-8 with a NUL behind it; ends early at a NUL inside. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  // A copy: the types of older Deno let the encoder's result be shared memory.
  return new Uint8Array(new TextEncoder().encode(text.split("\0", 1)[0] + "\0"));
}
