// Reads zip files in the browser, and packs files of one zip into another. Less than 4 GB, as exports for the page are.

const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;
const STORED = 0, DEFLATED = 8;
const text = new TextDecoder();

/** Opens a Blob; returns {has(name), bytes(name) → Uint8Array, text(name), packed({new name: old name}) → Blob}. */
export async function openZip(file) {
  const tail = await view(file.slice(Math.max(0, file.size - 65557))); // the longest comment and the record itself
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new RangeError("this is not a complete zip file");
  const count = tail.getUint16(at + 10, true), size = tail.getUint32(at + 12, true), start = tail.getUint32(at + 16, true);
  const entries = directory(await view(file.slice(start, start + size)), count);

  /** Returns the bytes of an entry as they stand in the file. */
  async function raw(entry) {
    const head = await view(file.slice(entry.offset, entry.offset + 30));
    if (head.byteLength < 30 || head.getUint32(0, true) !== LOCAL) throw new RangeError(`the zip is damaged at ${entry.name}`);
    const from = entry.offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
    return file.slice(from, from + entry.packed);
  }

  async function bytes(name) {
    const entry = entries.get(name);
    if (!entry) throw new RangeError(`the file has no ${name}`);
    let found = await raw(entry);
    if (entry.method === DEFLATED) found = await new Response(found.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob();
    else if (entry.method !== STORED) throw new RangeError(`${name} is packed by method ${entry.method}, which is not known here`);
    if (found.size !== entry.size) throw new RangeError(`${name} is not complete`);
    return new Uint8Array(await found.arrayBuffer());
  }

  /** Returns a zip of some of the entries under other names; nothing is packed anew. */
  async function packed(names) {
    const parts = [], list = [];
    let offset = 0;
    for (const [name, old] of Object.entries(names)) {
      const entry = entries.get(old);
      if (!entry) throw new RangeError(`the file has no ${old}`);
      const head = header(LOCAL, name, entry), data = await raw(entry);
      list.push(header(ENTRY, name, entry, offset));
      parts.push(head, data);
      offset += head.byteLength + data.size;
    }
    const length = list.reduce((sum, one) => sum + one.byteLength, 0);
    const end = new DataView(new ArrayBuffer(22));
    end.setUint32(0, END, true);
    for (const place of [8, 10]) end.setUint16(place, list.length, true);
    end.setUint32(12, length, true);
    end.setUint32(16, offset, true);
    return new Blob([...parts, ...list, end], { type: "application/zip" });
  }

  return { has: (name) => entries.has(name), bytes, packed, text: async (name) => text.decode(await bytes(name)) };
}

const view = async (blob) => new DataView(await blob.arrayBuffer());

/** Returns the entries of a central directory by name. */
function directory(data, count) {
  const entries = new Map();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > data.byteLength || data.getUint32(at, true) !== ENTRY) throw new RangeError("the directory of the zip is damaged");
    const [name, extra, comment] = [28, 30, 32].map((place) => data.getUint16(at + place, true));
    const entry = {
      name: text.decode(new Uint8Array(data.buffer, data.byteOffset + at + 46, name)), method: data.getUint16(at + 10, true),
      crc: data.getUint32(at + 16, true), packed: data.getUint32(at + 20, true), size: data.getUint32(at + 24, true), offset: data.getUint32(at + 42, true),
    };
    if ([entry.packed, entry.size, entry.offset].includes(0xffffffff)) throw new RangeError("the zip has more than 4 GB: use leym reproduce");
    entries.set(entry.name, entry);
    at += 46 + name + extra + comment;
  }
  return entries;
}

/** Returns the header of an entry: the local one, or that of the directory, which knows where the local one is. */
function header(kind, name, entry, offset = 0) {
  const letters = new TextEncoder().encode(name), isLocal = kind === LOCAL, fixed = isLocal ? 30 : 46;
  const bytes = new Uint8Array(fixed + letters.length), data = new DataView(bytes.buffer);
  data.setUint32(0, kind, true);
  let at = 4;
  const put = (value, size) => { if (size === 2) data.setUint16(at, value, true); else data.setUint32(at, value, true); at += size; };
  if (!isLocal) put(20, 2); // made by version 2.0
  for (const value of [20, 0x800, entry.method, 0, 0x21]) put(value, 2); // names are UTF-8; 1980-01-01
  for (const value of [entry.crc, entry.packed, entry.size]) put(value, 4);
  put(letters.length, 2);
  if (!isLocal) data.setUint32(42, offset, true);
  bytes.set(letters, fixed);
  return bytes;
}
