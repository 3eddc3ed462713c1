// A stream that says that it has come to its end. One that fails in a Worker ends, for whoever reads it behind the next isolate, as one
// that is whole does: that it is whole, the node learns from the mark behind its last octet (`marked.rs`).

const MARK_OCTETS = 16;

// What the node is sent in the place of a stream, the mark that it is told, and why the stream has failed, if it has.
export function marked(stream) {
  const mark = crypto.getRandomValues(new Uint8Array(MARK_OCTETS));
  const { readable, writable } = new IdentityTransformStream();
  let failed;
  // It fails, too, where the node does not read it to its end.
  write(stream, mark, writable).catch((error) => (failed = error));
  const text = [...mark].map((octet) => octet.toString(16).padStart(2, "0")).join("");
  return { body: readable, mark: text, failure: () => failed };
}

async function write(stream, mark, writable) {
  const reader = stream.getReader();
  const writer = writable.getWriter();
  try {
    // Not by `pipeTo`: with `preventClose` the engine's never ends for the body of a response that was cloned.
    for (let read = await reader.read(); !read.done; read = await reader.read()) await writer.write(read.value);
    await writer.write(mark);
    await writer.close();
  } catch (error) {
    reader.cancel(error).catch(() => {});
    await writer.abort(error);
    throw error;
  }
}
