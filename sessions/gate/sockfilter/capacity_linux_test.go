package sockfilter

import (
	"os"
	"strconv"
	"testing"

	"sallyport/bench/netns"
)

// TestCapacity: each of these bounds leaves room for Capacity entries of the most
// expensive kind, also in place of as many others.
func TestCapacity(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for optmem, want := range map[int]int{optmemBefore: 80, 40960: 160, 65536: 256, optmemForMax: Max, 4 * optmemForMax: Max} {
		if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte(strconv.Itoa(optmem)), 0); err != nil {
			t.Skipf("this kernel does not let a namespace bound its sockets' memory: %v", err)
		}
		if got := Capacity(); got != want {
			t.Errorf("%d bytes: %d entries, expected %d", optmem, got, want)
		}
		_, raw := listen(t, "127.0.0.1:0")
		all := worst(true)
		for _, set := range [][]int{{0, want}, {Max - want, Max}} {
			if fits, err := Attach(raw, Set{Addresses: all[set[0]:set[1]]}); err != nil || !fits {
				t.Errorf("%d bytes, entries %v: fits %v, %v", optmem, set, fits, err)
			}
		}
	}
}
