package carrier

import (
	"bytes"
	"strings"
	"testing"
)

// unitsOf returns the first unit of a part, and the number after its last.
func unitsOf(m *Message) (from, to int) {
	for m.have>>from&1 == 0 {
		from++
	}
	for to = m.units(); m.have>>(to-1)&1 == 0; to-- {
	}
	return from, to
}

// FuzzLabel: an accepted label is that of its part, except for the case of its letters.
func FuzzLabel(f *testing.F) {
	for _, v := range readVectors(f).Messages {
		for _, label := range v.Labels {
			f.Add([]byte(label))
			f.Add([]byte(strings.ToUpper(label)))
		}
	}
	for _, v := range readVectors(f).Refused {
		f.Add([]byte(v.Input))
	}
	f.Fuzz(func(t *testing.T, label []byte) {
		var m Message
		if m.ParseLabel(label) != Accepted {
			if m != (Message{}) {
				t.Errorf("a refused label left %+v", m)
			}
			return
		}
		from, _ := unitsOf(&m)
		if got := m.AppendLabel(nil, from*unit/labelData); !bytes.Equal(got, bytes.ToLower(label)) {
			t.Errorf("%q, want %q", got, label)
		}
	})
}

// FuzzPath: an accepted path is that of its parts.
func FuzzPath(f *testing.F) {
	for _, v := range readVectors(f).Messages {
		f.Add(v.Path)
		for _, path := range v.Paths {
			f.Add(path)
		}
	}
	for _, v := range readVectors(f).Refused {
		f.Add(v.Input)
	}
	f.Fuzz(func(t *testing.T, path string) {
		var m Message
		if m.ParsePath(path) != Accepted {
			if m != (Message{}) {
				t.Errorf("a refused path left %+v", m)
			}
			return
		}
		// The units need not be neighbours, so each is encoded alone.
		var got []byte
		for i := range m.units() {
			if m.have>>i&1 == 0 {
				continue
			}
			one := m.AppendPath(nil, i, i+1)
			if got == nil {
				got = one
				continue
			}
			number := one[bytes.LastIndexByte(one, '/'):]
			got = append(bytes.TrimSuffix(got, []byte(suffix)), number...)
		}
		if string(got) != path {
			t.Errorf("%q, want %q", got, path)
		}
	})
}

// FuzzForm: an accepted body is that of its message.
func FuzzForm(f *testing.F) {
	for _, v := range readVectors(f).Messages {
		f.Add([]byte(v.Form))
	}
	for _, v := range readVectors(f).Refused {
		f.Add([]byte(v.Input))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var m Message
		if m.ParseForm(body) != Accepted {
			if m != (Message{}) {
				t.Errorf("a refused body left %+v", m)
			}
			return
		}
		if got := m.AppendForm(nil); !m.Complete() || !bytes.Equal(got, body) {
			t.Errorf("%q, want %q", got, body)
		}
	})
}

// FuzzPage: an accepted page, or the text of a record, is that of its challenge.
func FuzzPage(f *testing.F) {
	for _, v := range readVectors(f).Challenges {
		f.Add([]byte(v.Text))
		f.Add([]byte(v.Page))
	}
	for _, v := range readVectors(f).Refused {
		f.Add([]byte(v.Input))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if c, reason := ParseText(nil, input); reason == Accepted && !bytes.Equal(AppendText(nil, c), input) {
			t.Errorf("text %q, want %q", AppendText(nil, c), input)
		}
		if c, reason := ParsePage(nil, input); reason == Accepted && !bytes.Equal(AppendPage(nil, c), input) {
			t.Errorf("page %q, want %q", AppendPage(nil, c), input)
		}
	})
}
