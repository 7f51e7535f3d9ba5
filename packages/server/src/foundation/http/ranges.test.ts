import { describe, expect, it } from 'vitest';

import { readRange } from './ranges.js';

const whole = { kind: 'whole' };
const unsatisfiable = { kind: 'unsatisfiable' };
const part = (start: number, end: number) => ({ kind: 'part', start, end });

describe('a Range header on 1000 bytes', () => {
  it.each([
    [undefined, whole],
    ['bytes=0-0', part(0, 0)],
    ['bytes=0-499', part(0, 499)],
    ['bytes=500-', part(500, 999)],
    ['bytes=999-', part(999, 999)],
    ['bytes=999-999', part(999, 999)],
    ['bytes=0-5000', part(0, 999)],
    ['Bytes=1-2', part(1, 2)],
    ['bytes= 1-2 ', part(1, 2)],
    ['bytes=-1', part(999, 999)],
    ['bytes=-1000', part(0, 999)],
    ['bytes=-5000', part(0, 999)],
    ['bytes=-0', unsatisfiable],
    ['bytes=1000-', unsatisfiable],
    ['bytes=1000-1001', unsatisfiable],
    ['bytes=99999999999999999999999-', unsatisfiable],
    ['bytes=5-99999999999999999999999', part(5, 999)],
    // Several ranges and what is no byte range at all: the whole.
    ['bytes=0-1,5-6', whole],
    ['bytes=0-1,0-1', whole],
    ['bytes=2-1', whole],
    ['bytes=-', whole],
    ['bytes=', whole],
    ['bytes=a-b', whole],
    ['bytes=1.5-2', whole],
    ['bytes=+1-2', whole],
    ['bytes=0x1-2', whole],
    ['items=0-1', whole],
    ['0-1', whole],
    ['', whole],
  ])('%s', (header, expected) => {
    expect(readRange(header, 1000)).toEqual(expected);
  });
});

describe('a Range header on an empty file', () => {
  it.each([
    ['bytes=0-', unsatisfiable],
    ['bytes=0-0', unsatisfiable],
    ['bytes=-1', whole],
    ['bytes=-0', unsatisfiable],
  ])('%s', (header, expected) => {
    expect(readRange(header, 0)).toEqual(expected);
  });
});
