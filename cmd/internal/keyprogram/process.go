package keyprogram

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"

	"sallyport/cmd/internal/hint"
)

// process is a mac_command that runs.
type process struct {
	program Program
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stderr  tail
	lines   chan []byte   // its answers; closed at their end
	quit    chan struct{} // closed: lines has no reader from now on
	waited  chan struct{} // closed when the process has ended, and err is set
	err     error

	answered bool // it has given an HMAC
}

// maxLine is the longest line that is kept of an answer. No answer is that long.
const maxLine = 256

func start(p Program) (*process, error) {
	pr := &process{program: p, lines: make(chan []byte), quit: make(chan struct{}), waited: make(chan struct{})}
	pr.cmd = p.command(&pr.stderr)
	var err error
	if pr.stdin, err = pr.cmd.StdinPipe(); err != nil {
		return nil, p.cannotStart(err)
	}
	out, in := io.Pipe()
	pr.cmd.Stdout = in
	if err := pr.cmd.Start(); err != nil {
		return nil, p.cannotStart(err)
	}
	go pr.read(out)
	go func() {
		pr.err = pr.cmd.Wait()
		in.Close()
		close(pr.waited)
	}()
	return pr, nil
}

// read passes the answers on. After quit it drops them.
func (p *process) read(out io.Reader) {
	defer close(p.lines)
	r := bufio.NewReaderSize(out, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return
		}
		select {
		case p.lines <- bytes.TrimRight(bytes.Clone(line), " \t\r\n"):
		case <-p.quit:
			io.Copy(io.Discard, r)
			return
		}
	}
}

// over returns the error of a program whose answers have ended. Idle: it has given none to
// the messages of this Sign.
func (p *process) over(ctx context.Context, idle bool) error {
	select {
	case <-p.waited:
	case <-time.After(endTime): // it has closed its output, and runs
		p.cmd.Process.Kill()
		<-p.waited
	}
	if idle && p.answered {
		return errIdle
	}
	return p.program.ended(ctx, p.cmd, p.err)
}

// wrong returns the error of an answer that is no HMAC. The answer is not in it: it may be
// a secret.
func (p *process) wrong(line []byte, when string) error {
	if when == "" {
		when = fmt.Sprintf("of %d characters", len(line))
	}
	return hint.With(
		p.program.errorf("expected a line with an HMAC-SHA256, 64 hexadecimal digits, got a line %s", when),
		"for each line with a message in hexadecimal digits, the program must print the HMAC, and nothing else")
}

// end closes the program's input, and kills it unless it ends.
func (p *process) end() {
	close(p.quit)
	p.stdin.Close()
	select {
	case <-p.waited:
	case <-time.After(endTime):
		p.cmd.Process.Kill()
		<-p.waited
	}
}

// kill ends the program at once.
func (p *process) kill() {
	close(p.quit)
	p.stdin.Close()
	p.cmd.Process.Kill()
	<-p.waited
}
