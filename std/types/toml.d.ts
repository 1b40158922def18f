// Declarations for the part of @std/toml that this project uses.
export function parse(tomlString: string): Record<string, unknown>;
export interface StringifyOptions {
  keyAlignment?: boolean;
}
export function stringify(obj: Record<string, unknown>, options?: StringifyOptions): string;
