package nearest

import "testing"

func TestWord(t *testing.T) {
	list := []string{"open_for", "open_max", "listen", "id", "type"}
	for typed, want := range map[string]string{
		"openfor": "open_for", "Open-For": "open_for", "open_fro": "open_for", "lisen": "listen", "listne": "listen",
		"opne_mxa": "open_max", "LISTEN": "listen", "tpye": "type", "i": "", "xy": "", "": "", "hostname": "", "opem": "",
	} {
		if got := Word(typed, list, 2); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
	if got := Word("listne", list, 0); got != "" {
		t.Errorf("limit 0: got %q", got)
	}
}
