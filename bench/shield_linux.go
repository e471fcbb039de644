package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"sallyport/bench/flood"
	"sallyport/bench/netns"
)

// shieldMissing returns why this host cannot measure the shield; "": it can.
func (r *benchRun) shieldMissing(ctx context.Context) string {
	if !netns.Privileged() {
		return "programs at the driver require the host's root"
	}
	t, err := r.startSink(ctx, dropAllSink)
	if err == nil {
		err = t.sink.Stop()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// guard prepares the host for a target: it stops the shield of another one, and starts its
// own. Its server starts again, because only one program at a time can be at the
// driver.
func (r *benchRun) guard(ctx context.Context, name string) error {
	if r.shield == name {
		return nil
	}
	if t := r.targets[r.shield]; t != nil {
		if err := t.stopServer(); err != nil {
			return err
		}
		r.shield = ""
	}
	if r.untranslate != nil {
		if err := r.untranslate(); err != nil {
			return err
		}
		r.untranslate = nil
	}
	if !configs[name].Shield {
		return nil
	}
	if name == shieldedNAT {
		var err error
		if r.untranslate, err = translate(); err != nil {
			return err
		}
	}
	t, err := r.startServer(ctx, name, name+"-"+strconv.Itoa(r.started))
	if err != nil {
		return err
	}
	r.shield = name
	return r.introduce(ctx, t)
}

// introduce sends a knock of each honest client, so that the server knows its highest
// nonce.
func (r *benchRun) introduce(ctx context.Context, t *tested) error {
	now := time.Now()
	frames, _, _, err := t.traffic.honest(len(t.traffic.nonces), everyClient, func(int) time.Time { return now })
	if err != nil {
		return err
	}
	d := time.Second / 4
	s := flood.Stream{Honest: frames, Every: 1, Rate: float64(len(frames)) / (d.Seconds() * 0.8), For: d}
	if _, err := r.network.play(ctx, s); err != nil {
		return fmt.Errorf("send the first knocks: %w", err)
	}
	time.Sleep(2 * inTime) // until the server has processed the last one
	return nil
}
