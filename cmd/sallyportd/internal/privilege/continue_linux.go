package privilege

import "sallyport/sessions/gate/runner"

// continueAtEnd makes this process continue when its server ends, also if another program
// has stopped it: then it notices that end. Its credentials must not change afterwards. The
// thread for that waits for ever, so that no request is served on a thread that is locked.
func continueAtEnd() error {
	done := make(chan error)
	go func() {
		done <- runner.ContinueAtEnd()
		select {}
	}()
	return <-done
}
