// The ring of this processor, and the shares of it.
#pragma once

#include "layout.h"
#include "parse.h"

#define SHARE 16

// prefix returns the network of a source: IPv4 /24, IPv6 /48.
static __always_inline __u64 prefix(const struct datagram *d)
{
	if (d->v4)
		return d->source[3] & bpf_htonl(0xffffff00);
	return (__u64)d->source[0] << 32 | (d->source[1] & bpf_htonl(0xffff0000));
}

static __always_inline struct share *share(__u32 cpu, int table, __u16 entry)
{
	__u32 key = (cpu * 4 + table) * SHARE_ENTRIES + entry;

	return bpf_map_lookup_elem(&shares, &key);
}

static __always_inline __u32 held(const struct share *s)
{
	return s->pushed - read(s->taken);
}

// copy copies the payload of a plain frame. barrier_var keeps the offsets constant.
static __always_inline int copy(struct xdp_md *ctx, struct record *r, int v4)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *from;

	if (v4) {
		from = data + PAYLOAD4;
		barrier_var(from);
	} else {
		from = data + PAYLOAD6;
		barrier_var(from);
	}
	if (from + KNOCK_SIZE > end)
		return 0;
	__builtin_memcpy(r->datagram, from, KNOCK_SIZE);
	return 1;
}

// push writes a datagram into the ring. The shares are dynamic thresholds (Choudhury and
// Hahne, 1998): an identity may have SHARE times as many records in the ring as there
// are free ones, and a source prefix SHARE times as many as are then left to the
// identity. So a part of the ring is always free for others. The part is small, and
// exists only while the ring is nearly full: the ring is read as fast as without shares,
// so no identity gets less by them than without, except at the end of a burst that
// would just fill the ring.
static __always_inline enum count push(struct xdp_md *ctx, const struct settings *s, const struct datagram *d)
{
	__u32 cpu = bpf_get_smp_processor_id(), id = d->knock.id, key;
	struct control *c = bpf_map_lookup_elem(&control, &cpu);
	struct share *identity[2], *source[2];
	__u16 entries[4] = {};
	__u32 counted = 0;
	struct record *r;
	__u64 head, used;
	void *w;

	if (!c)
		return COUNT_SOCKET;
	head = c->head;
	used = head - read(c->tail);
	if (used >= slots)
		return COUNT_FULL;

	if (s->flags & FLAG_SHARES && used >= slots / 2) {
		__u32 limit = (slots - used) * SHARE, of_identity, of_source;
		__u64 p = prefix(d);
		__u32 high = p >> 32, low = p;

		entries[0] = (id * s->seeds[2]) >> (32 - SHARE_BITS);
		entries[1] = (id * s->seeds[3]) >> (32 - SHARE_BITS);
		entries[2] = (id * s->seeds[0] + high * s->seeds[1] + low * s->seeds[2]) >> (32 - SHARE_BITS);
		entries[3] = (id * s->seeds[1] + high * s->seeds[2] + low * s->seeds[3]) >> (32 - SHARE_BITS);
		identity[0] = share(cpu, 0, entries[0]);
		identity[1] = share(cpu, 1, entries[1]);
		source[0] = share(cpu, 2, entries[2]);
		source[1] = share(cpu, 3, entries[3]);
		if (!identity[0] || !identity[1] || !source[0] || !source[1])
			return COUNT_SOCKET;
		of_identity = held(identity[0]);
		if (held(identity[1]) < of_identity)
			of_identity = held(identity[1]);
		of_source = held(source[0]);
		if (held(source[1]) < of_source)
			of_source = held(source[1]);
		if (of_identity >= limit || of_source >= (limit - of_identity) * SHARE)
			return COUNT_SHARE;
		counted = 1;
	}

	key = cpu * slots + (head & (slots - 1));
	r = bpf_map_lookup_elem(&records, &key);
	if (!r)
		return COUNT_SOCKET;
	if (!copy(ctx, r, d->v4))
		return COUNT_SOCKET;
	for (int i = 0; i < 4; i++)
		r->source[i] = d->source[i];
	r->arrival = bpf_ktime_get_ns();
	r->port = bpf_ntohs(d->source_port);
	r->to = bpf_ntohs(d->port);
	for (int i = 0; i < 4; i++)
		r->shares[i] = entries[i];
	r->counted = counted;

	if (counted) {
		identity[0]->pushed++;
		identity[1]->pushed++;
		source[0]->pushed++;
		source[1]->pushed++;
	}

	// The exchange is a full barrier: the reader sees the record before the head,
	// and either the reader sees the head after it has set sleeping, or the program
	// sees sleeping.
	__sync_lock_test_and_set(&c->head, head + 1);
	if (read(c->sleeping)) {
		w = bpf_ringbuf_reserve(&wake, 8, 0);
		if (w) {
			c->sleeping = 0;
			bpf_ringbuf_discard(w, BPF_RB_FORCE_WAKEUP);
		}
	}
	return COUNT_RING;
}
