package holder

// maxSandbox bounds Config.Sandbox, in bytes.
const maxSandbox = 512

// sandboxReply returns what is in force in this process.
func (s *session) sandboxReply() []byte {
	return append([]byte{byte(answerSandbox)}, s.Sandbox[:min(len(s.Sandbox), maxSandbox)]...)
}

// askSandbox asks a holder what is in force in it. One of an earlier release does not know
// the request, and refuses it.
func (l *link) askSandbox() error {
	b, err := l.call([]byte{byte(kindSandbox)}, answerTime)
	if err == nil && len(b) > 1 && answer(b[0]) == answerSandbox {
		text := b[1:]
		l.sandbox.Store(&text)
	}
	return err
}

// Sandbox returns Config.Sandbox of the present holder; nil: there is none, or it is of an
// earlier release. It waits for no request.
func (c *Conn) Sandbox() []byte {
	if l := c.current(); l != nil {
		if text := l.sandbox.Load(); text != nil {
			return *text
		}
	}
	return nil
}
