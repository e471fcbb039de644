package sockfilter

import (
	"os"
	"strconv"
	"strings"
)

const (
	optmemForMax = 131072 // net.core.optmem_max for two programs with Max entries
	optmemBefore = 20480  // its default before Linux 6.9, which does not show it in a container
)

// Capacity returns for how many entries Attach has room on this host, whatever they are.
func Capacity() int {
	optmem := optmemBefore
	if text, err := os.ReadFile("/proc/sys/net/core/optmem_max"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			optmem = n
		}
	}
	return min(Max*optmem/optmemForMax, Max)
}
