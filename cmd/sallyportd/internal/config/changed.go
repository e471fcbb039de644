package config

import (
	"fmt"
	"reflect"

	"sallyport/cmd/internal/hint"
)

// setting is a key that a reload does not change, with its value as text.
type setting struct {
	key, value string
	service    string // the name of the service; empty: none
	helped     bool   // only while a helper runs
}

// settings are the keys of the reload classes restart and helper. No secret is
// among them: those are live.
func (r *raw) settings() (fixed []setting) {
	for _, t := range r.tables() {
		declared(reflect.ValueOf(t.fields).Elem(), "", t.class, "", func(d declaration) error {
			if d.class != classLive {
				fixed = append(fixed, setting{d.path, d.text(), t.name, d.class == classHelper})
			}
			return nil
		})
	}
	return fixed
}

// table is one of the file: the outermost, or an entry of its lists.
type table struct {
	fields any    // a pointer to its struct
	at     string // where its keys stand
	name   string // of a service
	kind   string // of a service
	class  string // of reload, for keys that declare none
}

// tables are those of the file, but for those inside of others.
func (r *raw) tables() []table {
	class := func(list string) string {
		field, _ := reflect.TypeFor[raw]().FieldByName(list)
		return field.Tag.Get("reload")
	}
	all := []table{{fields: r}}
	for i := range r.Service {
		s := &r.Service[i]
		all = append(all, table{fields: s, at: fmt.Sprintf("service.%d.", i), name: s.Name, kind: s.Type, class: class("Service")})
	}
	for i := range r.Operation {
		all = append(all, table{fields: &r.Operation[i], at: fmt.Sprintf("operation.%d.", i), class: class("Operation")})
	}
	return all
}

// The reload classes.
const (
	classLive    = "live"    // a reload applies a change
	classRestart = "restart" // only a restart does
	classHelper  = "helper"  // a reload, unless a privileged helper holds to what it read
)

// Changed refuses a configuration that a running server with this one cannot
// take without a restart. Helped: a privileged helper holds to this one.
func (c *Config) Changed(next *Config, helped bool) error {
	refuse := func(what string) error {
		return hint.With(fmt.Errorf("%s: %s has changed, which a reload cannot carry out", next.Path, what), "restart the server, or change it back")
	}
	if len(c.Services) != len(next.Services) {
		return refuse("the number of services")
	}
	if (c.Challenge == nil) != (next.Challenge == nil) {
		return refuse("challenge")
	}
	for i, was := range c.fixed {
		if was.helped && !helped || was.value == next.fixed[i].value {
			continue
		}
		if was.service != "" {
			return refuse(was.key + " of service " + was.service)
		}
		return refuse(was.key)
	}
	return nil
}
