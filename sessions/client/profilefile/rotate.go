package profilefile

import (
	"strings"

	"sallyport/sessions/client"
	"sallyport/verify/schedule"
)

// FileRotate is the [rotate] table of a profile's file: how the port of its service is
// drawn.
type FileRotate struct {
	Name   string   `toml:"name" json:"name" expect:"the name of the service in the server's configuration, in quotes"`
	Ports  string   `toml:"ports" json:"ports" expect:"a range of ports in quotes, such as \"10000-32767\", from 1025 to 65535"`
	Except []string `toml:"except,omitempty" json:"except,omitempty" expect:"a list of ports and ranges of ports in quotes, such as [\"16384-30719\", \"25565\"], at most 1024"`
}

// maxExcept is more than the exceptions of any server: those of its configuration, and
// the ports of its services.
const maxExcept = 1024

// rotation reads the table [rotate] of a profile whose service rotates.
func (raw File) rotation(f Source) (*client.Rotation, error) {
	s, err := client.ParseService(raw.Service)
	rotates := err == nil && s.Rotates
	switch {
	case !f.Has("rotate") && !rotates:
		return nil, nil
	case !rotates:
		return nil, f.Errorf("rotate", "got it without service = \":rotate\"")
	case raw.Rotate == nil:
		return nil, f.Errorf("rotate", "got none, and service = %q", raw.Service)
	case raw.Rotate.Name == "":
		return nil, f.Errorf("rotate.name", "got nothing")
	case strings.ContainsFunc(raw.Rotate.Name, notInService):
		return nil, f.Errorf("rotate.name", "got %q", raw.Rotate.Name)
	case len(raw.Rotate.Except) > maxExcept:
		return nil, f.Errorf("rotate.except", "got %d entries", len(raw.Rotate.Except))
	}
	r := &client.Rotation{Service: raw.Rotate.Name}
	if r.Range, err = schedule.ParseRange(raw.Rotate.Ports); err != nil || r.Range.First < schedule.MinPort {
		return nil, f.Errorf("rotate.ports", "got %q", raw.Rotate.Ports)
	}
	for i, text := range raw.Rotate.Except {
		e, err := schedule.ParseRange(text)
		if err != nil {
			return nil, f.Errorf("rotate.except", "got %q (entry %d)", text, i+1)
		}
		r.Except = append(r.Except, e)
	}
	needed := schedule.Candidates
	if s.UDP {
		needed += schedule.MaxLive * raw.Ports // that are knock ports
	}
	if r.Free() < needed {
		return nil, f.Errorf("rotate.ports", "got %q, which leaves %d to draw from; at least %d are required",
			raw.Rotate.Ports, r.Free(), needed)
	}
	return r, nil
}

// notInService reports whether the name of a service cannot have a character.
func notInService(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}

// fileRotate returns the table of a profile; nil: its service does not rotate.
func fileRotate(r *client.Rotation) *FileRotate {
	if r == nil {
		return nil
	}
	t := &FileRotate{Name: r.Service, Ports: r.Range.String()}
	for _, e := range r.Except {
		t.Except = append(t.Except, e.String())
	}
	return t
}
