package target

import (
	"os/exec"
	"testing"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/netns"
)

// TestFamilyTime: the time of a child's child counts.
func TestFamilyTime(t *testing.T) {
	cores, err := clock.Cores()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(t.Context(), nil, cores[0], exec.Command("sh", "-c", "export P=$$; (sh -c 'while kill -0 $P; do :; done'; :) & wait"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		p.cmd.Process.Kill() // its children end when it does
		<-p.done
	}()
	const least = 20 * time.Millisecond
	netns.Until(t, "the time of the child's child", func() bool {
		own, err := p.Usage()
		if err != nil {
			t.Fatal(err)
		}
		all, err := p.FamilyTime()
		if err != nil {
			t.Fatal(err)
		}
		return all > own.Processor+least
	})
}
