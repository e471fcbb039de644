package xdp

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// TestLayout compares layout.go with bpf/layout.h, by the object's types.
func TestLayout(t *testing.T) {
	spec, err := loadShield()
	if err != nil {
		t.Fatal(err)
	}
	size := map[string]uintptr{
		"settings": unsafe.Sizeof(Settings{}), "ports": 8, "rows": unsafe.Sizeof(Row{}),
		"identifiers": unsafe.Sizeof(Bucket{}), "filter": 8, "counters": 8, "control": unsafe.Sizeof(Control{}),
		"records": unsafe.Sizeof(Record{}), "shares": unsafe.Sizeof(Share{}),
	}
	for _, name := range ArrayNames {
		m := spec.Maps[name]
		if m == nil {
			t.Fatalf("no array %s", name)
		}
		if name != "wake" && (uintptr(m.ValueSize) != size[name] || m.Type != ebpf.Array) {
			t.Errorf("%s: an entry has %d bytes, want %d", name, m.ValueSize, size[name])
		}
	}
	if spec.Maps["ports"].MaxEntries != PortEntries || spec.Maps["rows"].MaxEntries != Rows {
		t.Error("the sizes of ports and rows are others")
	}
	if k := spec.Maps["addresses"].KeySize; uintptr(k) != unsafe.Sizeof(key{}) {
		t.Errorf("an address has %d bytes, want %d", k, unsafe.Sizeof(key{}))
	}

	offsets := map[string]map[string]uintptr{
		"settings": {
			"flags": 0, "window": unsafe.Offsetof(Settings{}.Window), "seeds": unsafe.Offsetof(Settings{}.Seeds),
			"processors": unsafe.Offsetof(Settings{}.Processors), "slots": unsafe.Offsetof(Settings{}.Slots),
			"buckets": unsafe.Offsetof(Settings{}.Buckets), "beat": unsafe.Offsetof(Settings{}.Beat),
		},
		"entry": {
			"id": unsafe.Offsetof(Entry{}.ID), "highest": unsafe.Offsetof(Entry{}.Highest),
			"previous": unsafe.Offsetof(Entry{}.Previous), "ahead": unsafe.Offsetof(Entry{}.Ahead),
		},
		"control": {
			"head": unsafe.Offsetof(Control{}.Head), "tick": unsafe.Offsetof(Control{}.Tick),
			"beats": unsafe.Offsetof(Control{}.Beats), "tail": unsafe.Offsetof(Control{}.Tail),
			"sleeping": unsafe.Offsetof(Control{}.Sleeping),
		},
		"record": {
			"datagram": unsafe.Offsetof(Record{}.Datagram), "source": unsafe.Offsetof(Record{}.Source),
			"arrival": unsafe.Offsetof(Record{}.Arrival), "port": unsafe.Offsetof(Record{}.Port),
			"to":     unsafe.Offsetof(Record{}.To),
			"shares": unsafe.Offsetof(Record{}.Shares), "counted": unsafe.Offsetof(Record{}.Counted),
		},
		"share": {"pushed": unsafe.Offsetof(Share{}.Pushed), "taken": unsafe.Offsetof(Share{}.Taken)},
	}
	for name, want := range offsets {
		var s *btf.Struct
		if err := spec.Types.TypeByName(name, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := 0
		for _, m := range s.Members {
			if at, ok := want[m.Name]; ok {
				found++
				if uintptr(m.Offset.Bytes()) != at {
					t.Errorf("%s.%s is at %d, want %d", name, m.Name, m.Offset.Bytes(), at)
				}
			}
		}
		if found != len(want) {
			t.Errorf("%s: %d fields of %d", name, found, len(want))
		}
	}

	// The object has no type of the counters and flags: they are constants in it.
	header, err := os.ReadFile("bpf/layout.h")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^\tCOUNT_([A-Z]+),`).FindAllSubmatch(header, -1)
	if len(names) != NumCounts {
		t.Errorf("%d counters, want %d", len(names), NumCounts)
	}
	for i, name := range [NumCounts]string{
		CountOther: "OTHER", CountEmpty: "EMPTY", CountFlow: "FLOW", CountSocket: "SOCKET", CountSize: "SIZE",
		CountMagic: "MAGIC", CountMalformed: "MALFORMED", CountMaximum: "MAXIMUM", CountSequence: "SEQUENCE",
		CountMinute: "MINUTE", CountIdentifier: "IDENTIFIER", CountBelow: "BELOW", CountAhead: "AHEAD",
		CountShare: "SHARE", CountFull: "FULL", CountRing: "RING",
	} {
		if i < len(names) && string(names[i][1]) != name {
			t.Errorf("counter %d is %s, want %s", i, names[i][1], name)
		}
	}
	if !bytes.Contains(header, fmt.Appendf(nil, "#define MAX_AHEAD (1 << %d)\n", bits.TrailingZeros(MaxAhead))) {
		t.Errorf("MAX_AHEAD is not %d", MaxAhead)
	}
	for name, want := range map[string]time.Duration{"BEAT_LIMIT": BeatLimit, "BEAT_AHEAD": beatAhead} {
		if !bytes.Contains(header, fmt.Appendf(nil, "#define %s %dULL\n", name, want)) {
			t.Errorf("%s is not %s", name, want)
		}
	}
	flags := regexp.MustCompile(`(?m)^\tFLAG_([A-Z]+) = 1 << (\d),`).FindAllStringSubmatch(string(header), -1)
	want := map[string]int{
		"CLIENTS": FlagClients, "NONCES": FlagNonces, "SHARES": FlagShares, "RING": FlagRing, "EMPTY": FlagEmpty,
		"MIRROR": FlagMirror,
	}
	if len(flags) != len(want) {
		t.Errorf("%d flags, want %d", len(flags), len(want))
	}
	for _, f := range flags {
		if shift, _ := strconv.Atoi(f[2]); 1<<shift != want[f[1]] {
			t.Errorf("FLAG_%s is 1<<%s, want %d", f[1], f[2], want[f[1]])
		}
	}
}
