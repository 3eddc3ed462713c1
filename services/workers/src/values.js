// Writes what is passed to a method of a Durable Object, and what it returns, as text that a process elsewhere reads: what the structured
// clone algorithm knows, with shared references and cycles. Functions, streams, and stubs belong to their process, and are refused.
//
// Whatever is no array stands for itself; an array is a mark and what it marks: ["u"] undefined, ["n", text] a number that JSON has
// not, ["i", text] a bigint, ["r", n] the nth of the values that can be referred to.

const TEXT_LETTERS_MAX = 32 * 2 ** 20;
const ERRORS = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
const VIEWS = [
  DataView,
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
];

export function write(value) {
  const kept = [];
  const seen = new Map();

  function one(value) {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        return Number.isFinite(value) && !Object.is(value, -0) ? value : ["n", Object.is(value, -0) ? "-0" : `${value}`];
      case "undefined":
        return ["u"];
      case "bigint":
        return ["i", `${value}`];
      case "object":
        return value === null ? null : ["r", refer(value)];
      default:
        throw refused(`a ${typeof value}`);
    }
  }

  function refer(object) {
    if (seen.has(object)) return seen.get(object);
    const number = kept.length;
    seen.set(object, number);
    kept.push(null);
    kept[number] = parts(object);
    return number;
  }

  const pairs = (object) => Object.entries(object).map(([key, value]) => [key, one(value)]);

  function parts(object) {
    if (Array.isArray(object)) return ["array", object.map(one)];
    if (object instanceof Date) return ["date", one(object.getTime())];
    if (object instanceof Map) return ["map", [...object].map(([key, value]) => [one(key), one(value)])];
    if (object instanceof Set) return ["set", [...object].map(one)];
    if (object instanceof RegExp) return ["regexp", object.source, object.flags];
    if (object instanceof Error) {
      return ["error", String(object.name), String(object.message), String(object.stack ?? ""), pairs(object)];
    }
    if (object instanceof ArrayBuffer) return ["octets", new Uint8Array(object).toBase64()];
    const view = VIEWS.find((kind) => object instanceof kind);
    if (view) {
      const octets = new Uint8Array(object.buffer, object.byteOffset, object.byteLength);
      return ["view", view.name, octets.toBase64()];
    }
    const like = Object.getPrototypeOf(object);
    if (like === Object.prototype || like === null) return ["object", pairs(object)];
    throw refused(`an object of type "${like.constructor?.name}"`);
  }

  const text = JSON.stringify([one(value), kept]);
  if (text.length > TEXT_LETTERS_MAX) {
    throw new RangeError(`what is passed is too large: ${text.length} letters, of at most ${TEXT_LETTERS_MAX}`);
  }
  return text;
}

export function read(text) {
  const [root, kept] = JSON.parse(text);
  const made = new Array(kept.length);

  function one(written) {
    if (!Array.isArray(written)) return written;
    const [mark, said] = written;
    if (mark === "u") return undefined;
    if (mark === "n") return Number(said);
    if (mark === "i") return BigInt(said);
    return made[said] ?? (make(said), made[said]);
  }

  // What holds others is there before they are read: they may refer to it.
  function make(number) {
    const [kind, ...said] = kept[number];
    switch (kind) {
      case "array":
        made[number] = [];
        for (const item of said[0]) made[number].push(one(item));
        break;
      case "object":
        made[number] = {};
        define(made[number], said[0]);
        break;
      case "map":
        made[number] = new Map();
        for (const [key, value] of said[0]) made[number].set(one(key), one(value));
        break;
      case "set":
        made[number] = new Set();
        for (const item of said[0]) made[number].add(one(item));
        break;
      case "error": {
        const [name, message, stack, rest] = said;
        const error = new (ERRORS[name] ?? Error)(message);
        if (error.name !== name) hide(error, "name", name);
        hide(error, "stack", stack);
        made[number] = error;
        define(error, rest);
        break;
      }
      case "date":
        made[number] = new Date(one(said[0]));
        break;
      case "regexp":
        made[number] = new RegExp(said[0], said[1]);
        break;
      case "octets":
        made[number] = Uint8Array.fromBase64(said[0]).buffer;
        break;
      case "view": {
        const view = VIEWS.find((view) => view.name === said[0]);
        made[number] = new view(Uint8Array.fromBase64(said[1]).buffer);
        break;
      }
      default:
        throw new TypeError("what was passed cannot be read");
    }
  }

  // Also a field called `__proto__` is a field.
  function define(object, pairs) {
    for (const [key, value] of pairs) {
      Object.defineProperty(object, key, { value: one(value), configurable: true, enumerable: true, writable: true });
    }
  }

  const hide = (error, key, value) => Object.defineProperty(error, key, { value, configurable: true, writable: true });

  return one(root);
}

function refused(what) {
  const problem = `Could not serialize ${what}: only values can be passed to Durable Objects, and returned by them`;
  return new DOMException(problem, "DataCloneError");
}
