// The arrays that the program and the server share, as in ../layout.go, which explains
// them. TestLayout compares both.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

enum flags {
	FLAG_CLIENTS = 1 << 0,
	FLAG_NONCES = 1 << 1,
	FLAG_SHARES = 1 << 2,
	FLAG_RING = 1 << 3,
	FLAG_EMPTY = 1 << 4,
	FLAG_MIRROR = 1 << 5,
};

struct settings {
	__u32 flags;
	__u32 window;
	__u32 seeds[4];
	__u32 processors;
	__u32 slots;
	__u32 buckets;
	__u32 unused;
	__u64 beat;
	__u8 unused2[16];
};

// How old a beat may be, and how far ahead: the program reads the coarse clock, which is
// a little behind that of the server.
#define BEAT_LIMIT 5000000000ULL
#define BEAT_AHEAD 1000000000ULL

#define ROWS 4096
#define ROW_PLACES 8

struct row {
	__u64 places[ROW_PLACES];
};

#define PLACE_INDEX 32
#define PLACE_LOWEST 40
#define PLACE_HIGHEST 48
#define PLACE_VALID (1ULL << 56)
#define PLACE_SOCKET (1ULL << 57)
#define PLACE_SECONDS 64

struct entry {
	__u32 id;
	__u32 highest;
	__u32 previous;
	__u32 ahead;
};

struct bucket {
	struct entry entries[4];
};

#define MAX_AHEAD (1 << 20)

struct control {
	__u64 head;
	__u64 tick;
	__u32 beats;
	__u8 unused[44];
	__u64 tail;
	__u8 unused2[56];
	__u32 sleeping;
	__u8 unused3[60];
};

struct record {
	__u64 datagram[6];
	__u32 source[4];
	__u64 arrival;
	__u16 port;
	__u16 to;
	__u32 unused;
	__u16 shares[4];
	__u32 counted;
	__u32 unused2;
};

#define SHARE_BITS 12
#define SHARE_ENTRIES (1 << SHARE_BITS)

struct share {
	__u32 pushed;
	__u32 taken;
};

enum count {
	COUNT_OTHER,
	COUNT_EMPTY,
	COUNT_FLOW,
	COUNT_SOCKET, // the last one that passes
	COUNT_SIZE,
	COUNT_MAGIC,
	COUNT_MALFORMED,
	COUNT_MAXIMUM,
	COUNT_SEQUENCE,
	COUNT_MINUTE,
	COUNT_IDENTIFIER,
	COUNT_BELOW,
	COUNT_AHEAD,
	COUNT_SHARE,
	COUNT_FULL,
	COUNT_RING,
};

#define COUNTER_SLOTS 32

// The sizes of the arrays, which Load sets.
volatile const __u32 bucket_bits; // 1 << bucket_bits buckets of identifiers
volatile const __u32 filter_bits;
volatile const __u32 slots = 1;	  // records of a ring, a power of two

// ARRAY declares an array that processes can map. Load sets the sizes of those that
// have 1 entry here.
#define ARRAY(name, type_, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(map_flags, BPF_F_MMAPABLE); \
		__uint(max_entries, entries); \
		__type(key, __u32); \
		__type(value, type_); \
	} name SEC(".maps")

ARRAY(settings, struct settings, 1);
ARRAY(ports, __u64, (1 << 16) / 4);
ARRAY(rows, struct row, ROWS);
ARRAY(identifiers, struct bucket, 1);
ARRAY(filter, __u64, 1);   // 1 << filter_bits words
ARRAY(counters, __u64, 1); // COUNTER_SLOTS for each processor
ARRAY(control, struct control, 1);
ARRAY(records, struct record, 1);
ARRAY(shares, struct share, 1);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} wake SEC(".maps");

// An address of this host, and the hardware address of an interface where datagrams to
// it arrive. IPv4: ::ffff:a.b.c.d. Only the holder writes this map.
struct address {
	__u32 ip[4];
	__u16 mac[3]; // the bytes as in a frame
	__u16 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct address);
	__type(value, __u32);
} addresses SEC(".maps");

// What the holder writes. Datagrams to local ports from first_flow to last_flow may belong
// to flows of the kernel. addresses changes after an address was removed from the map
// above.
struct {
	__u32 first_flow;
	__u32 last_flow;
	__u32 addresses;
} host SEC(".data.host") = {0, 0xffff, 1};

// The addresses that a processor has found last, by their hash: looking into the map
// costs as much as all rules of a bad magic number. Only the program has this array.
#define FOUND 8

struct found {
	struct address address;
	__u32 set; // host.addresses of that time
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); // FOUND for each processor
	__type(key, __u32);
	__type(value, struct found);
} found SEC(".maps");

// read loads a word that a process may write at any time.
#define read(x) (*(volatile typeof(x) *)&(x))
