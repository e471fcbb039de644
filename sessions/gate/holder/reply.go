package holder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// answer is the first byte of a reply.
type answer uint8

const (
	answerReady              answer = iota + 1 // everything is closed; the Version of the holder follows
	answerDone                                 // everything is done
	answerRefused                              // nothing is done; the reason follows
	answerFailed                               // some changes failed; their places and reasons follow
	answerVersion                              // the holder uses another version, which follows
	answerOtherConfiguration                   // the holder has read another configuration, whose Digest follows
	answerConnected                            // the query has ended: a bit for each change follows, 1: connected
	answerPending                              // the query is still running, or the shield is being loaded
	answerShield                               // the shield is loaded: the names of its arrays follow, and the message has their descriptors
	answerShieldState                          // where the shield is attached follows, as JSON
	answerTrial                                // what is on trial follows
	answerReloaded                             // the configuration was read again; a Reloaded follows, as JSON
	answerSandbox                              // Config.Sandbox follows
)

const (
	// maxReasons is the number of different reasons in a reply; a change with a
	// further reason gets the last of them.
	maxReasons = 8
	maxReason  = 256 // bytes
	maxReply   = 1 + 2 + 3*MaxChanges + maxReasons*(2+maxReason)
)

var errReply = errors.New("the reply is malformed")

// refusal returns the reply to a request of which nothing is done.
func refusal(why error) []byte { return append([]byte{byte(answerRefused)}, reason(why)...) }

func reason(err error) []byte { return []byte(err.Error())[:min(len(err.Error()), maxReason)] }

// parseBeginReply parses the reply to the first request.
func parseBeginReply(b []byte, own Digest) error {
	if len(b) == 0 {
		return errReply
	}
	switch kind, b := answer(b[0]), b[1:]; {
	case kind == answerReady && len(b) == 1 && b[0] == Version:
		return nil
	case kind == answerVersion && len(b) > 0:
		return fmt.Errorf("%w: it uses version %d, expected %d", ErrOtherRelease, b[0], Version)
	case kind == answerReady && len(b) == len(own): // the form of the first version
		return fmt.Errorf("%w: it uses version 1, expected %d", ErrOtherRelease, Version)
	case kind == answerOtherConfiguration && len(b) == len(own):
		return fmt.Errorf("%w: expected the digest %x of policy and firewall, got %x",
			ErrOtherConfiguration, own[:8], b[:8])
	case kind == answerRefused:
		return fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b)
	}
	return errReply
}

// results returns the reply to changes, of which each has an error or nil; no
// errors at all: everything is done. Its format: the number of failed changes,
// for each its place and the index of its reason, and the reasons, each after
// its length.
func results(errs []error) []byte {
	var reasons []string
	var failed []byte
	n := 0
	for i, err := range errs {
		if err == nil {
			continue
		}
		why := string(reason(err))
		at := slices.Index(reasons, why)
		if at < 0 && len(reasons) < maxReasons {
			reasons = append(reasons, why)
		}
		if at < 0 {
			at = len(reasons) - 1
		}
		failed = append(binary.BigEndian.AppendUint16(failed, uint16(i)), byte(at))
		n++
	}
	if n == 0 {
		return []byte{byte(answerDone)}
	}
	b := binary.BigEndian.AppendUint16([]byte{byte(answerFailed)}, uint16(n))
	b = append(b, failed...)
	for _, why := range reasons {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(why))), why...)
	}
	return b
}

// parseReply parses the reply to a request with n changes. It returns the error
// of each, or nil, and an error if nothing is done.
func parseReply(b []byte, n int) (errs []error, err error) {
	if len(b) == 0 {
		return nil, errReply
	}
	switch kind, b := answer(b[0]), b[1:]; kind {
	case answerDone:
		if len(b) == 0 {
			return nil, nil
		}
	case answerRefused:
		return nil, fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b)
	case answerFailed:
		return parseFailed(b, n)
	}
	return nil, errReply
}

// ErrRefused means that the holder has done nothing of a request.
var ErrRefused = errors.New("refused")

func parseFailed(b []byte, n int) ([]error, error) {
	if len(b) < 2 {
		return nil, errReply
	}
	count := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; count == 0 || count > n || len(b) < 3*count {
		return nil, errReply
	}
	failed, b := b[:3*count], b[3*count:]
	var reasons []error
	for len(b) >= 2 {
		size := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; size > len(b) {
			return nil, errReply
		}
		reasons = append(reasons, fmt.Errorf("the firewall's holder: %s", b[:size]))
		b = b[size:]
	}
	errs := make([]error, n)
	for ; len(failed) > 0; failed = failed[3:] {
		i, why := int(binary.BigEndian.Uint16(failed)), int(failed[2])
		if i >= n || why >= len(reasons) {
			return nil, errReply
		}
		errs[i] = reasons[why]
	}
	if len(b) != 0 {
		return nil, errReply
	}
	return errs, nil
}
