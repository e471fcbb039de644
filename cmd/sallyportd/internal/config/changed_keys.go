package config

import (
	"crypto/sha256"
	"reflect"
	"slices"
	"strings"
)

// digest stands for the value of a key. The values of some keys are secrets, which this
// record does not keep.
type digest = [sha256.Size]byte

// digests returns all keys of the file with their values, by their names for people, such
// as "open_for of service web".
func (r *raw) digests() map[string]digest {
	all := map[string]digest{}
	for _, t := range r.tables() {
		at, of := t.list, ""
		switch fields := t.fields.(type) {
		case *rawOperation:
			of = " of operation " + fields.ID
		default:
			if t.name != "" {
				of = " of service " + t.name
			} else if t.list != "" {
				at = t.at // of a table without a name, its number is in the key
			}
		}
		// The function returns no error.
		walkKeys(reflect.ValueOf(t.fields).Elem(), at, t.class, "", func(d declaration) error {
			all[d.path+of] = sha256.Sum256([]byte(d.text()))
			return nil
		})
	}
	return all
}

// ChangedKeys returns the names of the keys whose values are other ones in next, sorted.
// Of an operation that only one of both has, it is "operation" and its ID, and of the
// content of the port secret's file "port_secret".
func (c *Config) ChangedKeys(next *Config) (names []string) {
	for name, value := range c.keys {
		if is, ok := next.keys[name]; !ok {
			names = append(names, tableOf(name))
		} else if is != value {
			names = append(names, name)
		}
	}
	for name := range next.keys {
		if _, ok := c.keys[name]; !ok {
			names = append(names, tableOf(name))
		}
	}
	if c.PortSecret.Current != next.PortSecret.Current {
		names = append(names, "port_secret")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tableOf returns the table of a key, if its name has one.
func tableOf(key string) string {
	if _, table, ok := strings.Cut(key, " of "); ok {
		return table
	}
	return key
}
