package real

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/netns"
)

// knock is one process of the client.
type knock struct {
	client   string
	core     int
	attempts int
	timeout  time.Duration // for the challenge, and then for the service
}

// outcome is what the client printed, and how long its process lived.
type outcome struct {
	Opened     bool
	OpenBefore bool `json:"open_before"`
	Attempts   int
	Error      string
	Hint       string

	started, ended time.Time
}

// run knocks from a host with a profile.
func (k knock) run(ctx context.Context, on *netns.Host, profile string) (o outcome, err error) {
	cmd := exec.CommandContext(ctx, k.client, "knock", profile, "--json", "-4",
		"--attempts", strconv.Itoa(k.attempts), "--timeout", k.timeout.String())
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = on.Do(func() error {
		// The process inherits the core: a veth delivers the packets of several cores in
		// any order, which no line does.
		if err := clock.PinThread(0, k.core); err != nil {
			return err
		}
		o.started = time.Now()
		defer func() { o.ended = time.Now() }()
		return cmd.Run()
	})
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	// An exit code is in the JSON too.
	if jsonErr := json.Unmarshal(out.Bytes(), &o); jsonErr != nil {
		return o, fmt.Errorf("sallyport knock: %v: %w\n%s%s", err, jsonErr, out.Bytes(), complaint.Bytes())
	}
	if (err == nil) != o.Opened {
		return o, fmt.Errorf("sallyport knock: %v, and it printed %s", err, out.Bytes())
	}
	return o, nil
}
