/**
 * All resources of this node, in the order of the configuration.
 * @module
 */
import type { Config, ResourceConfig } from "../conf/config.ts";
import { logTo } from "../base/log.ts";
import { Resource, type ResourceContext } from "./resource.ts";

/** The resources and what they share. */
export class Supervisor {
  readonly #context: ResourceContext;
  #resources: Resource[];

  constructor(config: Config, context: ResourceContext) {
    this.#context = context;
    this.#resources = config.resources.map((each) => new Resource(each, context));
  }

  get resources(): readonly Resource[] {
    return this.#resources;
  }

  find(name: string): Resource | undefined {
    return this.#resources.find((resource) => resource.name === name);
  }

  /** A resource that the reloaded configuration has and the old one had not: role init. */
  add(config: ResourceConfig): void {
    this.#resources.push(new Resource(config, this.#context));
  }

  /** Takes a resource out of service, in role init, and forgets it. */
  async remove(resource: Resource): Promise<void> {
    await resource.setRole("init", "reload");
    await resource.close();
    this.#resources = this.#resources.filter((each) => each !== resource);
  }

  /** Puts the resources in the order of `names`. */
  sort(names: readonly string[]): void {
    this.#resources.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
  }

  /** Stops all workers at once and waits until each has really ended. */
  async close(): Promise<void> {
    const log = logTo(this.#context.write);
    for (const { name, role, workerPid } of this.#resources) {
      if (workerPid === 0) continue;
      log.info(
        `Terminating worker process (resource=${name}, role=${role}, pid=${workerPid}).`,
      );
    }
    await Promise.all(this.#resources.map((resource) => resource.close()));
  }
}
