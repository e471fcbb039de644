package keyprogram

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"sallyport/sessions/client"
)

// MAC is a program that computes HMACs: the client.Signer of a mac_command.
type MAC struct {
	Program Program

	once sync.Once
	turn chan struct{} // has a value while no Sign uses the program
	proc *process      // nil: none runs
}

// Sign implements client.Signer: all messages go to the program before it must answer.
func (m *MAC) Sign(ctx context.Context, messages ...[]byte) ([]client.MAC, error) {
	if err := m.take(ctx); err != nil {
		return nil, err
	}
	defer m.give()
	macs, err := m.sign(ctx, messages)
	if errors.Is(err, errIdle) {
		macs, err = m.sign(ctx, messages)
	}
	return macs, err
}

// errIdle is the error of a program that has ended since its last answer.
var errIdle = errors.New("the program has ended")

func (m *MAC) sign(ctx context.Context, messages [][]byte) (macs []client.MAC, err error) {
	if m.proc == nil {
		if m.proc, err = start(m.Program); err != nil {
			return nil, err
		}
	}
	defer m.Program.notice()()
	if macs, err = m.proc.exchange(ctx, messages); err != nil {
		m.proc.kill() // and then its standard error is complete
		if !errors.Is(err, errIdle) {
			err = m.Program.failed(ctx, &m.proc.stderr, err)
		}
		m.proc = nil
	}
	return macs, err
}

// Close ends the program. A later Sign starts it again.
func (m *MAC) Close() error {
	m.take(context.Background())
	defer m.give()
	if m.proc != nil {
		m.proc.end()
		m.proc = nil
	}
	return nil
}

// take waits until no other Sign uses the program.
func (m *MAC) take(ctx context.Context) error {
	m.once.Do(func() {
		m.turn = make(chan struct{}, 1)
		m.turn <- struct{}{}
	})
	select {
	case <-m.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *MAC) give() { m.turn <- struct{}{} }

// exchange sends messages, and returns the answers.
func (p *process) exchange(ctx context.Context, messages [][]byte) ([]client.MAC, error) {
	select {
	case line, open := <-p.lines:
		if !open {
			return nil, p.over(ctx, true)
		}
		return nil, p.wrong(line, "before the client asked for one")
	default:
	}
	go p.send(messages) // the program may answer before it has read all
	macs := make([]client.MAC, 0, len(messages))
	timer := time.NewTimer(p.program.timeout())
	defer timer.Stop()
	for len(macs) < len(messages) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return nil, p.program.tooLong("an HMAC")
		case line, open := <-p.lines:
			if !open {
				return nil, p.over(ctx, len(macs) == 0)
			}
			mac, ok := parseMAC(line)
			if !ok {
				return nil, p.wrong(line, "")
			}
			macs, p.answered = append(macs, mac), true
			timer.Reset(p.program.timeout())
		}
	}
	return macs, nil
}

// parseMAC parses the line of an answer.
func parseMAC(line []byte) (mac client.MAC, ok bool) {
	if len(line) != hex.EncodedLen(len(mac)) {
		return mac, false
	}
	_, err := hex.Decode(mac[:], line)
	return mac, err == nil
}

// send writes the messages, a line each. An error shows as the end of the answers.
func (p *process) send(messages [][]byte) {
	var text []byte
	for _, m := range messages {
		text = append(hex.AppendEncode(text, m), '\n')
	}
	p.stdin.Write(text)
}
