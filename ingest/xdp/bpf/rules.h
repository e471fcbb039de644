// The rules for a datagram of the right size, in the order of verify.CheckFormat.
#pragma once

#include "layout.h"
#include "parse.h"

#define PRINTABLE_MIN 0x20
#define PRINTABLE_MAX 0x7e

// printable reports whether each byte is printable ASCII: its high bit is not set, nor
// is it after subtracting the minimum, nor after adding the distance from the maximum to
// 0x7f. Without high bits, no byte carries into the next one; a byte that borrows is
// found itself.
static __always_inline int printable(__u32 id)
{
	return !((id | (id - 0x20202020) | (id + 0x01010101)) & 0x80808080);
}

// place returns the rule that the knock breaks at the place of its port where the most
// rules hold, or COUNT_RING.
static __always_inline enum count place(const struct row *row, const struct knock *k)
{
	__u32 timestamp = bpf_ntohl(k->timestamp);
	enum count furthest = COUNT_MALFORMED;

	// Without CAP_PERFMON, each instruction must add the same to a pointer, always.
#pragma unroll
	for (int i = 0; i < ROW_PLACES; i++) {
		__u64 p = read(row->places[i]);
		enum count broken = COUNT_RING;

		if (!(p & PLACE_VALID))
			continue;
		if (k->maximum < (__u8)(p >> PLACE_LOWEST) || k->maximum > (__u8)(p >> PLACE_HIGHEST))
			broken = COUNT_MAXIMUM;
		else if (k->sequence != (__u8)(p >> PLACE_INDEX))
			broken = COUNT_SEQUENCE;
		else if (timestamp - (__u32)p >= PLACE_SECONDS)
			broken = COUNT_MINUTE;
		else
			return COUNT_RING;
		if (broken > furthest)
			furthest = broken;
	}
	return furthest == COUNT_MALFORMED ? COUNT_SEQUENCE : furthest; // no place
}

// listed reports whether the filter has all bits of an identifier.
static __always_inline int listed(const struct settings *s, __u32 id)
{
	__u32 key = (__u64)(__u32)(id * s->seeds[2]) << filter_bits >> 32, h = id * s->seeds[3];
	__u64 bits = 1ULL << (h >> 26) | 1ULL << (h >> 20 & 63), *word = bpf_map_lookup_elem(&filter, &key);

	return word && (read(*word) & bits) == bits;
}

static __always_inline struct entry *find(const struct settings *s, __u32 id)
{
	if (!listed(s, id))
		return 0;
	// The first bucket again: an entry may have moved there meanwhile.
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u32 key = (__u64)(__u32)(id * s->seeds[i % 2]) << bucket_bits >> 32;
		struct bucket *b = bpf_map_lookup_elem(&identifiers, &key);

		if (!b)
			return 0;
#pragma unroll
		for (int j = 0; j < 4; j++)
			if (read(b->entries[j].id) == id)
				return &b->entries[j];
	}
	return 0;
}

// near reports whether a nonce can be new: above the window, and not far ahead.
static __always_inline int near(__u64 nonce, __u64 highest, __u32 window)
{
	return nonce + window > highest && nonce <= highest + MAX_AHEAD;
}

static __always_inline enum count nonce(struct entry *e, __u32 nonce, __u32 window)
{
	__u32 highest = read(e->highest), previous = read(e->previous);

	if (highest == 0 || near(nonce, highest, window) || previous != 0 && near(nonce, previous, window))
		return COUNT_RING;
	if (nonce < highest)
		return COUNT_BELOW;
	e->ahead++; // not exact when processors race: it only shows that there are some
	return COUNT_AHEAD;
}

// check returns the first rule that a knock breaks, or COUNT_RING.
static __always_inline enum count check(const struct settings *s, const struct row *row, const struct knock *k)
{
	enum count broken;
	struct entry *e;

	if (k->magic[0] != 'P' || k->magic[1] != 'K')
		return COUNT_MAGIC;
	if (k->maximum < 0 || k->sequence < 0 || k->sequence > k->maximum || !printable(k->id))
		return COUNT_MALFORMED;
	broken = place(row, k);
	if (broken != COUNT_RING || !(s->flags & (FLAG_CLIENTS | FLAG_NONCES)))
		return broken;
	e = find(s, k->id);
	if (!e)
		return s->flags & FLAG_CLIENTS ? COUNT_IDENTIFIER : COUNT_RING;
	return s->flags & FLAG_NONCES ? nonce(e, bpf_ntohl(k->nonce), s->window) : COUNT_RING;
}
