package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sallyport/cmd/internal/output"
)

// diagnosed is an error of the client.
type diagnosed struct{ certain, likely, advice []string }

func (*diagnosed) Error() string      { return "the service did not open" }
func (*diagnosed) ReasonCode() string { return "no-answer" }

func (e *diagnosed) Hint() string {
	return strings.Join(append(append(append([]string{}, e.certain...), e.likely...), e.advice...), "\n")
}

func (e *diagnosed) Diagnosis() (certain, likely, advice []string) {
	return e.certain, e.likely, e.advice
}

// TestExplain: certain and likely lines stand apart from other hints, in text and in JSON,
// and no line is lost or doubled.
func TestExplain(t *testing.T) {
	whole := &diagnosed{[]string{"it is silent"}, []string{"it is down", "it is far"}, []string{"wait"}}
	for name, row := range map[string]struct {
		err        error
		text, json string
	}{
		"whole": {
			fmt.Errorf("knock: %w", whole),
			"tool: knock: the service did not open\ncertain: it is silent\nlikely: it is down\nlikely: it is far\nhint: wait\n",
			`{"error":"knock: the service did not open","reason":"no-answer","certain":["it is silent"],"likely":["it is down","it is far"],` +
				`"hint":"it is silent\nit is down\nit is far\nwait","exit_code":1}`,
		},
		"no advice": {
			&diagnosed{certain: []string{"it is silent"}},
			"tool: the service did not open\ncertain: it is silent\n",
			`{"error":"the service did not open","reason":"no-answer","certain":["it is silent"],"hint":"it is silent","exit_code":1}`,
		},
		"nothing seen": {
			&diagnosed{}, "tool: the service did not open\n",
			`{"error":"the service did not open","reason":"no-answer","hint":"","exit_code":1}`,
		},
		"with another hint": {
			Misuse(WithHint(whole, "try later")),
			"tool: the service did not open\ncertain: it is silent\nlikely: it is down\nlikely: it is far\nhint: try later\nhint: wait\n",
			`{"error":"the service did not open","reason":"no-answer","certain":["it is silent"],"likely":["it is down","it is far"],` +
				`"hint":"try later\nit is silent\nit is down\nit is far\nwait","exit_code":2}`,
		},
		"an ordinary error": {
			WithHint(fmt.Errorf("no file"), "make it"), "tool: no file\nhint: make it\n", `{"error":"no file","hint":"make it","exit_code":1}`,
		},
	} {
		var text strings.Builder
		f := Explain(row.err)
		f.Print(output.New(&text, false, nil), "tool")
		object, err := json.Marshal(f)
		if err != nil || text.String() != row.text || string(object) != row.json {
			t.Errorf("%s: %v\n%s%s", name, err, text.String(), object)
		}
	}
}
