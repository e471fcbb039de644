package carriers

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// visitors visit the site.
type visitors struct {
	testbed *testbed
	steps   chan<- func() // nil: the visitors write themselves
	tasks   sync.WaitGroup

	mu  sync.Mutex
	all []time.Duration
}

func (w *testbed) visitors() *visitors { return &visitors{testbed: w} }

// visit begins a visit from an address.
func (v *visitors) visit(self netip.Addr) {
	v.tasks.Go(func() {
		began := time.Now()
		took := time.Duration(0)
		if c, err := v.testbed.dial(self); err == nil {
			if bytes.Equal(write(c, v.steps, get("/")), page) {
				took = time.Since(began)
			}
			c.Close()
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.all = append(v.all, took)
	})
}

// wait returns how long each visit took; 0: longer than its time.
func (v *visitors) wait() []time.Duration {
	v.tasks.Wait()
	return v.all
}

// write writes a request, as the next step, and returns the body of the answer; nil: it
// did not come.
func write(c net.Conn, steps chan<- func(), request []byte) []byte {
	if steps == nil {
		c.Write(request)
	} else {
		done := make(chan struct{})
		steps <- func() {
			c.Write(request)
			close(done)
		}
		<-done
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	return body
}
