package etcdtest

import (
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// addUsers makes the users and their roles, and requires users from then on.
func (c *Cluster) addUsers(t testing.TB) {
	t.Helper()
	if len(c.options.Users) == 0 {
		return
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("set up users: %v", err)
		}
	}
	ctx := t.Context()
	for _, u := range append([]User{rootUser}, c.options.Users...) {
		must(c.root.RoleAdd(ctx, u.Name))
		for _, prefix := range u.Read {
			kind := clientv3.PermRead
			if slices.Contains(u.Write, prefix) {
				kind = clientv3.PermReadWrite
			}
			must(c.root.RoleGrantPermission(ctx, u.Name, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(kind)))
		}
		for _, prefix := range u.Write {
			if !slices.Contains(u.Read, prefix) {
				must(c.root.RoleGrantPermission(ctx, u.Name, prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermWrite)))
			}
		}
		must(c.root.UserAdd(ctx, u.Name, u.Password))
		must(c.root.UserGrantRole(ctx, u.Name, u.Name))
	}
	must(c.root.AuthEnable(ctx))
	c.root = c.Client(t, c.gateway(t, true), rootUser)
}
