import { createHash } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { judgeConditions, rangeCounts, readDate, strongTag } from './conditions.js';

const etag = strongTag(createHash('sha256').update('content').digest());
const lastModified = new Date('2026-03-01T12:00:00.750Z');
const current = { etag, lastModified };
const same = 'Sun, 01 Mar 2026 12:00:00 GMT';
const before = 'Sun, 01 Mar 2026 11:59:59 GMT';
const after = 'Sun, 01 Mar 2026 12:00:01 GMT';

describe('conditions of a GET', () => {
  it.each([
    [{}, 'send'],
    [{ 'if-none-match': etag }, 'not-modified'],
    [{ 'if-none-match': `W/${etag}` }, 'not-modified'],
    [{ 'if-none-match': `"other", W/"third" ,${etag}` }, 'not-modified'],
    [{ 'if-none-match': `"a,b", ${etag}` }, 'not-modified'],
    [{ 'if-none-match': '*' }, 'not-modified'],
    [{ 'if-none-match': '"other"' }, 'send'],
    [{ 'if-none-match': etag.slice(1, -1) }, 'send'],
    [{ 'if-none-match': '' }, 'send'],
    [{ 'if-modified-since': same }, 'not-modified'],
    [{ 'if-modified-since': after }, 'not-modified'],
    [{ 'if-modified-since': before }, 'send'],
    [{ 'if-modified-since': 'yesterday' }, 'send'],
    [{ 'if-modified-since': '2027-01-01' }, 'send'],
    // Tags come before dates, whichever way they point.
    [{ 'if-none-match': '"other"', 'if-modified-since': after }, 'send'],
    [{ 'if-none-match': etag, 'if-modified-since': before }, 'not-modified'],
    [{ 'if-match': etag }, 'send'],
    [{ 'if-match': '*' }, 'send'],
    [{ 'if-match': `"other", ${etag}` }, 'send'],
    [{ 'if-match': `W/${etag}` }, 'precondition-failed'],
    [{ 'if-match': '"other"' }, 'precondition-failed'],
    [{ 'if-match': etag, 'if-unmodified-since': before }, 'send'],
    [{ 'if-unmodified-since': same }, 'send'],
    [{ 'if-unmodified-since': before }, 'precondition-failed'],
    [{ 'if-unmodified-since': 'rubbish' }, 'send'],
    [{ 'if-match': etag, 'if-none-match': etag }, 'not-modified'],
    [{ 'if-match': '"other"', 'if-none-match': etag }, 'precondition-failed'],
  ])('%o is answered %s', (headers, verdict) => {
    expect(judgeConditions(headers, current)).toBe(verdict);
  });
});

describe('If-Range', () => {
  const now = new Date('2026-03-01T13:00:00Z');
  it.each([
    [undefined, true],
    [etag, true],
    [`W/${etag}`, false],
    ['"other"', false],
    [same, true],
    [before, false],
    [after, false],
    ['rubbish', false],
  ])('%s lets the range count: %s', (header, expected) => {
    expect(rangeCounts(header, current, now)).toBe(expected);
  });

  it('does not trust a date of this very second', () => {
    expect(rangeCounts(same, current, lastModified)).toBe(false);
  });
});

describe('HTTP dates', () => {
  const seconds = Date.UTC(1994, 10, 6, 8, 49, 37) / 1000;
  it.each([
    ['Sun, 06 Nov 1994 08:49:37 GMT', seconds],
    ['Sunday, 06-Nov-94 08:49:37 GMT', seconds],
    ['Sun Nov  6 08:49:37 1994', seconds],
    ['1994-11-06', undefined],
    ['Sun, 99 Nov 1994 08:49:37 GMT', undefined],
    ['784111777', undefined],
    ['', undefined],
  ])('%s', (text, expected) => {
    expect(readDate(text)).toBe(expected);
  });
});
