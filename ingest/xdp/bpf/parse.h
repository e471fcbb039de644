// Where a frame has its datagram: from the Ethernet header to the rules' part of the
// payload.
//
// Without CAP_PERFMON, a program can read packets directly only at constant offsets. So
// parse reads the usual frames that way, and parse_slowly all others by a helper.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"

#define KNOCK_SIZE 48
#define MAX_TAGS 2    // VLAN tags
#define MAX_HEADERS 6 // between the IP header and the UDP header
#define MAX_OPTIONS 40
#define FRAGMENT_BITS 0x3fff // more fragments, offset

// Protocols and types of headers and options. linux/in6.h has some, but only for others.
enum {
	NEXT_HOP_BY_HOP = 0,
	NEXT_TCP = 6,
	NEXT_UDP = 17,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_ESP = 50,
	NEXT_AH = 51,
	NEXT_DESTINATION = 60,

	OPTION_END = 0,
	OPTION_NOTHING = 1,
};

enum kind {
	NOT_UDP,    // or not IP
	UNREADABLE, // it may contain UDP, but the program does not find its header
	UDP,
};

// The part of a knock that the rules read.
struct knock {
	__u8 magic[2];
	__s8 sequence;
	__s8 maximum;
	__u32 id;
	__u32 timestamp;
	__u32 nonce;
};

// The Ethernet header. That of linux/if_ether.h is packed, so the compiler reads it byte
// by byte.
struct ethernet {
	__u16 to[3];
	__u16 from[3];
	__u16 type;
};

struct datagram {
	struct knock knock; // if size is KNOCK_SIZE, and not malformed
	__u32 source[4];    // IPv4: ::ffff:a.b.c.d
	struct address to;  // destination
	__u16 source_port;  // in network order, as in the frame
	__u16 port;	    // destination
	__u32 size;	    // of the payload, by the headers: drivers pad frames
	__u8 v4;
	__u8 plain;	// parse has read it: the payload has a constant offset
	__u8 malformed; // the lengths contradict each other, or the end is missing
	__u8 unused;
};

// The constant offsets.
#define UDP4 (sizeof(struct ethernet) + sizeof(struct iphdr))
#define UDP6 (sizeof(struct ethernet) + sizeof(struct ipv6hdr))
#define PAYLOAD4 (UDP4 + sizeof(struct udphdr))
#define PAYLOAD6 (UDP6 + sizeof(struct udphdr))

static __always_inline void addresses4(struct datagram *d, const struct ethernet *ethernet, const struct iphdr *ip)
{
	for (int i = 0; i < 3; i++)
		d->to.mac[i] = ethernet->to[i];
	d->v4 = 1;
	d->source[2] = d->to.ip[2] = bpf_htonl(0xffff);
	d->source[3] = ip->saddr;
	d->to.ip[3] = ip->daddr;
}

static __always_inline void addresses6(struct datagram *d, const struct ethernet *ethernet, const struct ipv6hdr *ip)
{
	for (int i = 0; i < 3; i++)
		d->to.mac[i] = ethernet->to[i];
	for (int i = 0; i < 4; i++) {
		d->source[i] = ip->saddr.in6_u.u6_addr32[i];
		d->to.ip[i] = ip->daddr.in6_u.u6_addr32[i];
	}
}

// header reads a UDP header. It is at an offset in an IP packet that ends at another,
// as the IP header states it.
static __always_inline void header(struct datagram *d, const struct udphdr *udp, __u32 at, __u32 end)
{
	__u32 length = bpf_ntohs(udp->len);

	d->source_port = udp->source;
	d->port = udp->dest;
	d->malformed = length < sizeof(*udp) || at + length > end;
	d->size = length - sizeof(*udp);
}

struct options {
	__u8 bytes[MAX_OPTIONS];
};

// padding reports whether IPv4 options do nothing. The rest of the bytes is 0. It is a
// global function, which the kernel verifies once.
__attribute__((noinline)) int padding(const struct options *o)
{
	if (!o)
		return 0;
#pragma unroll
	for (int i = 0; i < MAX_OPTIONS; i++) {
		if (o->bytes[i] == OPTION_END)
			return 1;
		if (o->bytes[i] != OPTION_NOTHING)
			return 0;
	}
	return 1;
}

// parse_slowly reads frames with VLAN tags, IPv4 options or extension headers, or whose
// headers are not in the frame's first part. It is a global function as well. The caller
// has cleared d.
__attribute__((noinline)) int parse_slowly(struct xdp_md *ctx, struct datagram *d)
{
	struct ethernet ethernet;
	struct udphdr udp;
	__u32 at = sizeof(ethernet), end;
	__u16 type;
	__u8 next;

	if (!d || bpf_xdp_load_bytes(ctx, 0, &ethernet, sizeof(ethernet)))
		return NOT_UDP;
	type = ethernet.type;
	for (int i = 0; i < MAX_TAGS; i++) {
		__u16 tag[2];

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if (bpf_xdp_load_bytes(ctx, at, tag, sizeof(tag)))
			return NOT_UDP;
		type = tag[1];
		at += sizeof(tag);
	}

	if (type == bpf_htons(ETH_P_IP)) {
		struct options options = {};
		struct iphdr ip;
		__u32 length;

		if (bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version != 4)
			return NOT_UDP;
		next = ip.protocol;
		if (next != NEXT_UDP && next != NEXT_AH && next != NEXT_ESP)
			return NOT_UDP;
		addresses4(d, &ethernet, &ip);
		if (ip.ihl < 5 || ip.frag_off & bpf_htons(FRAGMENT_BITS))
			return UNREADABLE;
		end = at + bpf_ntohs(ip.tot_len);
		at += sizeof(ip);
		length = ip.ihl * 4 - sizeof(ip);
		if (length > 0) {
			if (length > MAX_OPTIONS || bpf_xdp_load_bytes(ctx, at, &options, length) ||
			    !padding(&options))
				return UNREADABLE;
			at += length;
		}
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version != 6)
			return NOT_UDP;
		next = ip.nexthdr;
		addresses6(d, &ethernet, &ip);
		at += sizeof(ip);
		end = at + bpf_ntohs(ip.payload_len);
	} else {
		return NOT_UDP;
	}

	for (int i = 0; i < MAX_HEADERS && next != NEXT_UDP; i++) {
		__u8 extension[4];

		if (next == NEXT_ESP || next == NEXT_AH || next == NEXT_FRAGMENT || next == NEXT_HOP_BY_HOP)
			return UNREADABLE;
		if (next != NEXT_ROUTING && next != NEXT_DESTINATION)
			return NOT_UDP;
		if (bpf_xdp_load_bytes(ctx, at, extension, sizeof(extension)))
			return UNREADABLE;
		if (next == NEXT_ROUTING && extension[3] != 0)
			return UNREADABLE; // segments left: a router on the way
		at += (extension[1] + 1) * 8; // words of 8 bytes, from the second
		next = extension[0];
	}
	if (next != NEXT_UDP || bpf_xdp_load_bytes(ctx, at, &udp, sizeof(udp)))
		return UNREADABLE;
	header(d, &udp, at, end);
	if (d->size == KNOCK_SIZE) {
		__u8 last;

		at += sizeof(udp);
		if (bpf_xdp_load_bytes(ctx, at, &d->knock, sizeof(d->knock)) ||
		    bpf_xdp_load_bytes(ctx, at + KNOCK_SIZE - 1, &last, 1))
			d->malformed = 1;
	}
	return UDP;
}

static __always_inline enum kind parse(struct xdp_md *ctx, struct datagram *d)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethernet *ethernet = data;

	if (data + PAYLOAD4 > end)
		return parse_slowly(ctx, d);
	if (ethernet->type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + sizeof(*ethernet);

		if (ip->protocol == NEXT_TCP)
			return NOT_UDP;
		if (*(__u8 *)ip == 0x45 && ip->protocol == NEXT_UDP && !(ip->frag_off & bpf_htons(FRAGMENT_BITS))) {
			addresses4(d, ethernet, ip);
			header(d, data + UDP4, sizeof(*ip), bpf_ntohs(ip->tot_len));
			if (d->size != KNOCK_SIZE)
				return UDP;
			if (data + PAYLOAD4 + KNOCK_SIZE <= end) {
				d->knock = *(struct knock *)(data + PAYLOAD4);
				d->plain = 1;
				return UDP;
			}
		}
	} else if (ethernet->type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + sizeof(*ethernet);

		if (data + PAYLOAD6 > end)
			return parse_slowly(ctx, d);
		if (ip->nexthdr == NEXT_TCP)
			return NOT_UDP;
		if (ip->version == 6 && ip->nexthdr == NEXT_UDP) {
			addresses6(d, ethernet, ip);
			header(d, data + UDP6, 0, bpf_ntohs(ip->payload_len));
			if (d->size != KNOCK_SIZE)
				return UDP;
			if (data + PAYLOAD6 + KNOCK_SIZE <= end) {
				d->knock = *(struct knock *)(data + PAYLOAD6);
				d->plain = 1;
				return UDP;
			}
		}
	} else if (ethernet->type != bpf_htons(ETH_P_8021Q) && ethernet->type != bpf_htons(ETH_P_8021AD)) {
		return NOT_UDP;
	}
	return parse_slowly(ctx, d);
}
