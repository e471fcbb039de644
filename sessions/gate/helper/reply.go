package helper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// answer is the first byte of a reply.
type answer uint8

const (
	answerReady   answer = iota + 1 // everything is closed, and the holder hears us; its Version follows
	answerDone                      // all is done
	answerRefused                   // nothing is done; why follows
	answerFailed                    // some changes are not done; which, and why, follows
	answerVersion                   // the holder speaks another version, which follows
	answerOther                     // the holder has read another configuration, whose Digest follows
	answerSeen                      // a look has ended: a bit for each change follows, 1 if there are connections
	answerLooks                     // a look goes on
)

const (
	// maxReasons is how many different reasons a reply gives; what has another
	// one gets the last of them.
	maxReasons = 8
	maxReason  = 256 // bytes
	maxReply   = 1 + 2 + 3*MaxChanges + maxReasons*(2+maxReason)
)

var errReply = errors.New("a reply that cannot be understood")

// refusal is the reply to a request of which nothing is done.
func refusal(why error) []byte { return append([]byte{byte(answerRefused)}, reason(why)...) }

func reason(err error) []byte { return []byte(err.Error())[:min(len(err.Error()), maxReason)] }

// parseHello reads the reply to the first request.
func parseHello(b []byte, own Digest) error {
	if len(b) == 0 {
		return errReply
	}
	switch kind, b := answer(b[0]), b[1:]; {
	case kind == answerReady && len(b) == 1 && b[0] == Version:
		return nil
	case kind == answerVersion && len(b) > 0:
		return fmt.Errorf("%w: it speaks version %d, expected %d", ErrOtherRelease, b[0], Version)
	case kind == answerReady && len(b) == len(own): // as the first version has it
		return fmt.Errorf("%w: it speaks version 1, expected %d", ErrOtherRelease, Version)
	case kind == answerOther && len(b) == len(own):
		return fmt.Errorf("%w: the digest of its policy and firewall is %x, expected %x", ErrOtherConfiguration, b[:8], own[:8])
	case kind == answerRefused:
		return fmt.Errorf("the firewall's holder: %w: %s", ErrRefused, b)
	}
	return errReply
}

// results is the reply to changes, of which each has an error or nil; none at
// all: all is done. It is: how many have failed, for each its place and its
// reason's, and the reasons, each after its length.
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

// parseReply reads the reply to a request with n changes: the error of each, or
// nil, and whether nothing is done at all.
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

// ErrRefused says that the holder has done nothing of a request.
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
