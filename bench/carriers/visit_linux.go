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
			body, waited := write(c, v.steps, get("/"))
			if bytes.Equal(body, page) {
				took = time.Since(began) - waited
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

// write writes a request, as the next step, and returns the body of the answer, and how
// long the client has waited for its turn; nil: it did not come in time.
func write(c net.Conn, steps chan<- func(), request []byte) (body []byte, waited time.Duration) {
	if steps == nil {
		c.Write(request)
	} else {
		began, done := time.Now(), make(chan struct{})
		steps <- func() {
			waited = time.Since(began)
			c.SetDeadline(time.Now().Add(inTime))
			c.Write(request)
			close(done)
		}
		<-done
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, waited
	}
	if body, err = io.ReadAll(r.Body); err != nil {
		return nil, waited
	}
	return body, waited
}
