package admin

import (
	"context"
	"net/http"
)

// ListStatus is the list of clients of a fleet that is in force at a server.
type ListStatus struct {
	// File: the clients of the server are those of a file, and the rest is zero.
	File    bool   `json:"file,omitempty"`
	Version uint64 `json:"version"` // 0: the server has not read one from etcd since its start
	Clients int    `json:"clients"` // in that list
	// Refused is why the list in force is not the one that etcd has; empty: it is.
	Refused string `json:"refused,omitempty"`
	// Unavailable: that is because etcd does not answer, or not in time.
	Unavailable bool   `json:"unavailable,omitempty"`
	Hint        string `json:"hint,omitempty"` // what to do about that
	// Held: the server has seen a list that went back, and accepts only lists that follow its
	// own, until an operator accepts or writes a whole list.
	Held bool `json:"held,omitempty"`
}

// AwaitList waits until the list of clients that etcd has is in force at the server, or
// refused, 25 seconds at most.
func (c Conn) AwaitList(ctx context.Context) (done ListStatus, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/list/await", nil, maxAnswer, &done)
	return done, err
}

// AcceptList makes the server accept the list that etcd has, although it does not follow the
// one in force. It waits as AwaitList does.
func (c Conn) AcceptList(ctx context.Context) (done ListStatus, err error) {
	err = c.askJSON(ctx, http.MethodPost, "/list/accept", nil, maxAnswer, &done)
	return done, err
}

// serveList registers the requests about the list of clients of a fleet.
func (h Handlers) serveList(ctx context.Context, mux *http.ServeMux) {
	for path, handle := range map[string]func(context.Context) (ListStatus, error){"/list/await": h.AwaitList, "/list/accept": h.AcceptList} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) { answer(w)(handle(ctx)) })
	}
}
