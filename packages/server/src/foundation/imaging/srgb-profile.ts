/**
 * Tells whether an ICC profile means sRGB, whoever wrote it: then its conversion may be left out. libvips converts
 * before it shrinks, at 2.5–3.4 × the cost of the whole decode, and most photos that carry a profile carry this one.
 * The layout is that of ICC.1:2022, sections 7.2 (header), 7.3 (tags), 10.6 (curv) and 10.18 (para).
 */
export function isSrgbProfile(profile: Buffer): boolean {
  try {
    return means(profile);
  } catch (error) {
    // A profile that ends early or points outside itself is none we know.
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** sRGB's primaries adapted to D50, as its profiles store them (ICC's own sRGB v2 and v4 agree to 0.0004). */
const primaries = {
  rXYZ: [0.4361, 0.2225, 0.0139],
  gXYZ: [0.3851, 0.7169, 0.0971],
  bXYZ: [0.1431, 0.0606, 0.7141],
} as const;
/** Beyond the rounding of the profiles above, far below Adobe RGB or Display P3, which differ by 0.07 and more. */
const primaryTolerance = 0.002;
/** Half a step of eight bits; simplified sRGB curves (gamma 2.2) are off by 1 % and are converted. */
const curveTolerance = 0.002;

function means(profile: Buffer): boolean {
  if (profile.toString('latin1', 16, 24) !== 'RGB XYZ ') return false;
  const tags = readTags(profile);
  // Tables of device values take precedence over primaries and curves, and could say anything.
  if (tags.has('A2B0') || tags.has('D2B0')) return false;
  for (const [name, expected] of Object.entries(primaries)) {
    const tag = tags.get(name);
    if (!tag || tag.toString('latin1', 0, 4) !== 'XYZ ') return false;
    const near = expected.every((value, i) => Math.abs(fixed(tag, 8 + 4 * i) - value) <= primaryTolerance);
    if (!near) return false;
  }
  return ['rTRC', 'gTRC', 'bTRC'].every((name) => {
    const tag = tags.get(name);
    const curve = tag && readCurve(tag);
    return curve !== undefined && isSrgbCurve(curve);
  });
}

function readTags(profile: Buffer): Map<string, Buffer> {
  // A profile has about ten; the bound keeps a lying count from costing anything.
  const count = Math.min(profile.readUInt32BE(128), 100);
  const tags = new Map<string, Buffer>();
  for (let i = 0; i < count; i++) {
    const entry = 132 + 12 * i;
    const offset = profile.readUInt32BE(entry + 4);
    const size = profile.readUInt32BE(entry + 8);
    tags.set(profile.toString('latin1', entry, entry + 4), profile.subarray(offset, offset + size));
  }
  return tags;
}

type Curve = (encoded: number) => number;

function isSrgbCurve(curve: Curve): boolean {
  for (let step = 0; step <= 64; step++) {
    const encoded = step / 64;
    const linear = encoded <= 0.04045 ? encoded / 12.92 : ((encoded + 0.055) / 1.055) ** 2.4;
    if (!(Math.abs(curve(encoded) - linear) <= curveTolerance)) return false;
  }
  return true;
}

function readCurve(tag: Buffer): Curve | undefined {
  const kind = tag.toString('latin1', 0, 4);
  if (kind === 'curv') {
    const count = tag.readUInt32BE(8);
    // 0 is linear and 1 a pure gamma; neither is sRGB's curve.
    if (count < 2) return undefined;
    return (encoded) => {
      const at = encoded * (count - 1);
      const low = Math.floor(at);
      const from = tag.readUInt16BE(12 + 2 * low) / 65535;
      const to = tag.readUInt16BE(12 + 2 * Math.min(low + 1, count - 1)) / 65535;
      return from + (to - from) * (at - low);
    };
  }
  // Type 3 is the piecewise function with a linear foot that sRGB is written as.
  if (kind === 'para' && tag.readUInt16BE(8) === 3) {
    const [g, a, b, c, d] = [0, 1, 2, 3, 4].map((i) => fixed(tag, 12 + 4 * i));
    if (g === undefined || a === undefined || b === undefined || c === undefined || d === undefined) {
      return undefined;
    }
    return (encoded) => (encoded >= d ? (a * encoded + b) ** g : c * encoded);
  }
  return undefined;
}

/** s15Fixed16Number. */
function fixed(bytes: Buffer, offset: number): number {
  return bytes.readInt32BE(offset) / 65536;
}
