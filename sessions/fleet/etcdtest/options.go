package etcdtest

import (
	"net"
	"testing"
)

// Options of Start.
type Options struct {
	Members int    // 1 or 3; 0 is 1
	TLS     bool   // clients need a certificate: see Cluster.Files
	Users   []User // if there are any, etcd asks for users and their passwords
	Quota   int64  // bytes of the database; 0 is etcd's default, 2 GiB
	// Addresses are in the certificates of the members, beside 127.0.0.1: see GatewayAt.
	Addresses []net.IP
}

// User is a user of etcd, with a role of the same name.
type User struct {
	Name, Password string
	Read, Write    []string // prefixes of keys
}

// rootUser has all rights. etcd requires that name.
var rootUser = User{Name: "root", Password: "the password of root"}

func (o Options) members(t testing.TB) int {
	switch o.Members {
	case 0, 1:
		return 1
	case 3:
		return 3
	}
	t.Fatalf("got %d members, want 1 or 3", o.Members)
	return 0
}
