package config

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"sallyport/cmd/internal/hint"
)

// setting is the value, as text, of a key that a reload cannot change.
type setting struct {
	key, value string
	service    string // the name of the service; empty: none
	class      string // the reload class
}

// settings returns the keys with a reload class other than live. They
// include no secret: the class of secrets is live.
func (r *raw) settings() (fixed []setting) {
	for _, t := range r.tables() {
		walkKeys(reflect.ValueOf(t.fields).Elem(), t.list, t.class, "", func(d declaration) error {
			if d.class != classLive {
				fixed = append(fixed, setting{d.path, d.text(), t.name, d.class})
			}
			return nil
		})
	}
	return fixed
}

// table is a table of the file: the outermost one, or an entry of its lists.
type table struct {
	fields any    // a pointer to its struct
	at     string // the prefix of its keys, such as "service.0."
	list   string // the prefix that names the list to people; empty: its name does
	name   string // of a service
	kind   string // of a service
	class  string // the reload class of keys that declare none
}

// tables returns the tables of the file, without the tables inside them.
func (r *raw) tables() []table {
	class := func(list string) string {
		field, _ := reflect.TypeFor[raw]().FieldByName(list)
		return field.Tag.Get("reload")
	}
	all := []table{{fields: r}}
	for i := range r.Service {
		s := &r.Service[i]
		all = append(all, table{
			fields: s, at: fmt.Sprintf("service.%d.", i), name: s.Name, kind: s.Type, class: class("Service"),
		})
	}
	for i := range r.Challenge.HTTP {
		all = append(all, table{
			fields: &r.Challenge.HTTP[i], at: fmt.Sprintf("challenge.http.%d.", i), list: "challenge.http.", class: class("Challenge"),
		})
	}
	for i := range r.Operation {
		all = append(all, table{
			fields: &r.Operation[i], at: fmt.Sprintf("operation.%d.", i), class: class("Operation"),
		})
	}
	return all
}

// The reload classes.
const (
	classLive    = "live"    // a reload applies a change
	classRestart = "restart" // a change requires a restart
	classHolder  = "holder"  // a reload applies a change, unless a privileged holder runs
	// A reload applies a change if a privileged holder runs.
	classFirewall = "firewall"
)

// Changed returns an error if a running server requires a restart to replace this
// configuration by next. withHolder: a privileged holder runs, which keeps what it
// read of this one.
func (c *Config) Changed(next *Config, withHolder bool) error {
	refuse := func(key string) error {
		return hint.With(fmt.Errorf("%s: %s has changed, which requires a restart", next.Path, key),
			"restart the server, or undo the change")
	}
	if len(c.Services) != len(next.Services) {
		return refuse("the number of services")
	}
	if (c.Challenge == nil) != (next.Challenge == nil) {
		return refuse("challenge")
	}
	if (c.Fleet == nil) != (next.Fleet == nil) {
		return refuse("fleet")
	}
	if c.Fleet != nil && c.Fleet.Etcd.Password != next.Fleet.Etcd.Password {
		return refuse("fleet.password_file")
	}
	if c.Fleet != nil && !c.Fleet.sameRelayKey(next.Fleet) {
		return refuse("fleet.relay_key_file")
	}
	if len(c.HTTP()) != len(next.HTTP()) {
		return refuse("the number of [[challenge.http]] tables")
	}
	for i, was := range c.fixed {
		switch {
		case was.value == next.fixed[i].value, was.class == classHolder && !withHolder, was.class == classFirewall && withHolder:
			continue
		case was.class == classFirewall:
			return hint.With(fmt.Errorf("%s: %s has changed, but this server was started without a holder of the firewall", next.Path, was.key),
				"restart the server, with CAP_NET_ADMIN or beside \"sallyportd firewall hold\", or undo the change")
		}
		if was.service != "" {
			err := refuse(was.key + " of service " + was.service)
			if was.key == "listen" {
				err = hint.With(err, "restart the server, or undo the change; profiles repeat the port, so after the restart: sallyportd client profile --all --out-dir DIR")
			}
			return err
		}
		return refuse(was.key)
	}
	return nil
}

// ProfileChanges returns the keys that profiles repeat, and that have other values in
// next: the clients need new profiles.
func (c *Config) ProfileChanges(next *Config) (keys []string) {
	add := func(key string, changed bool) {
		if changed {
			keys = append(keys, key)
		}
	}
	add("server", c.Server != next.Server)
	add("ports", c.Ports != next.Ports)
	add("generator", c.Generator != next.Generator)
	add("port_secret", c.PortSecret.Current != next.PortSecret.Current)
	for i := range c.Services {
		if s := next.Service(c.Services[i].Name); s != nil {
			add("listen of service "+s.Name, s.Port() != c.Services[i].Port())
			add("ports of service "+s.Name, !reflect.DeepEqual(s.Drawn(), c.Services[i].Drawn()))
			// A profile with a longer time, or for one client, promises too much.
			add("open_for of service "+s.Name, s.Policy.OpenFor < c.Services[i].Policy.OpenFor)
			add("open_to of service "+s.Name, s.Policy.Anyone && !c.Services[i].Policy.Anyone)
		}
	}
	if c.Challenge != nil && next.Challenge != nil {
		before, after := c.Challenge.Plan, next.Challenge.Plan
		moved := !reflect.DeepEqual(c.Challenge.Answers, next.Challenge.Answers)
		signed := func(o Operation) bool { return o.Signed }
		if slices.ContainsFunc(c.Operations, signed) && slices.ContainsFunc(next.Operations, signed) {
			before, after := c.Challenge.HostKey, next.Challenge.HostKey
			add("challenge.host_key_file", before != nil && after != nil && before.Public() != after.Public())
		}
		add("challenge", moved || before.Request != after.Request || before.Response != after.Response || before.Shared != after.Shared || before.Hop != after.Hop)
	}
	for _, o := range c.Operations {
		for _, n := range next.Operations {
			same := o.Secret == n.Secret && o.Signed == n.Signed && o.Algorithm == n.Algorithm && o.RandomPort == n.RandomPort && o.Service == n.Service
			shorter := next.lasting(n) < c.lasting(o)
			add("operation "+o.ID, n.ID == o.ID && (!same || shorter))
		}
	}
	return keys
}

// lasting returns how long an operation opens, as its profiles have it; 0: they do not.
func (c *Config) lasting(o Operation) time.Duration {
	s := c.Service(o.Service)
	switch {
	case s == nil, o.Close, o.RandomPort:
		return 0
	case o.UntilClosed:
		return math.MaxInt64
	}
	return cmp.Or(o.OpenFor, s.Policy.OpenFor)
}
