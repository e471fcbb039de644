package runner

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLastLines: all that a program has written is in the log, even if the runner had
// no time to read it before its time was over, and another process keeps the pipe open.
func TestLastLines(t *testing.T) {
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	var log bytes.Buffer
	o := &output{from: from, log: slog.New(slog.NewTextHandler(&log, nil)), now: time.Now, dropped: new(atomic.Uint64)}
	const lines = 40 // more bytes than a read has, and fewer than the pipe
	for i := range lines {
		fmt.Fprintf(to, "line %d %s\n", i, strings.Repeat("x", maxLine-20))
	}
	fmt.Fprint(to, "no end")
	if err := from.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	o.copy(context.Background())
	if n := strings.Count(log.String(), "\n"); n != lines+1 || !strings.Contains(log.String(), `text="no end"`) {
		t.Errorf("%d of %d lines in the log", n, lines+1)
	}
	if _, err := from.Read(make([]byte, 1)); err == nil {
		t.Error("the pipe is open")
	}
}
