// Declarations for the part of @std/streams that this project uses.
export interface TextLineStreamOptions {
  /** A lone CR ends a line, too. */
  allowCR?: boolean;
}
export class TextLineStream extends TransformStream<string, string> {
  constructor(options?: TextLineStreamOptions);
}
