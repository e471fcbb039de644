package bench

import (
	"context"
	"strconv"

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
	// A knock of each honest client, so that the server knows its highest nonce.
	_, err = r.knock(ctx, t, len(t.traffic.nonces))
	return err
}
