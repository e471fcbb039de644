package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/trial"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
)

// TestTrialsNow: the status has the unconfirmed services of the configuration, each with
// the end of its trial, or as open.
func TestTrialsNow(t *testing.T) {
	now, err := trial.Now()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := "version = 1\nports = 3\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n"
	for name, port := range map[string]int{"ssh": 22, "db": 5432, "over": 99} {
		text += fmt.Sprintf("[[service]]\nname = %q\ntype = \"firewall\"\nlisten = \":%d\"\n", name, port)
	}
	path := filepath.Join(dir, "sallyportd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, config.Alone)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	wall := time.Unix(1_800_000_000, 0)
	if list, unknown := trialsNow(cfg, wall); list != nil || unknown != "" {
		t.Errorf("without a record: %+v", list)
	}
	record := trial.Record{
		"tcp 22": {State: trial.OnTrial, Boot: now.Boot, Ends: now.Monotonic + time.Hour}, "tcp 5432": {State: trial.Confirmed},
		"tcp 99": {State: trial.OnTrial, Boot: "earlier", Ends: now.Monotonic + time.Hour}, "tcp 1": {State: trial.OnTrial}, trial.Stealth: {State: trial.OnTrial},
	}
	if err := record.Write(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	list, _ := trialsNow(cfg, wall)
	slices.SortFunc(list, func(a, b admin.Trial) int { return strings.Compare(a.Service, b.Service) }) // maps have no order
	if len(list) != 2 || list[0].Service != "over" || list[0].Until != nil || list[1].Service != "ssh" || list[1].Until == nil {
		t.Fatalf("%+v", list)
	}
	if left := list[1].Until.Sub(wall); left > time.Hour || left < time.Hour-time.Minute {
		t.Errorf("%s left", left)
	}
	cfg.Stealth = true
	if list, _ := trialsNow(cfg, wall); len(list) != 3 || list[2].Service != "stealth" || list[2].Until != nil {
		t.Errorf("with stealth: %+v", list)
	}
	if err := os.WriteFile(trial.PathIn(cfg.StateDir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, unknown := trialsNow(cfg, wall); list != nil || !strings.Contains(unknown, "read the record of trials") {
		t.Errorf("a damaged record: %+v, %q", list, unknown)
	}
}

// TestConfirmable: a confirmation requires both halves of the proof: this server has opened
// something for a knock, and the kernel knows a connection that began by a grant, to a
// service on trial if one is.
func TestConfirmable(t *testing.T) {
	ssh, db, web := access.ID("ssh"), access.ID("db"), access.ID("web")
	of := func(id access.ServiceID) trial.Subject {
		switch id {
		case firewall.StealthTrial:
			return trial.StealthSubject()
		case ssh:
			return trial.Subject{Name: "ssh"}
		case db:
			return trial.Subject{Name: "db"}
		}
		return trial.Subject{}
	}
	runs := func(ids ...access.ServiceID) (tried []holder.Tried) {
		for _, id := range ids {
			tried = append(tried, holder.Tried{Service: id, Left: time.Minute})
		}
		return tried
	}
	over := []holder.Tried{{Service: db}}
	for name, row := range map[string]struct {
		tried     []holder.Tried
		entered   []access.ServiceID
		knocked   bool
		want      error
		confirmed string
	}{
		"both halves":                        {runs(ssh), []access.ServiceID{ssh}, true, nil, "ssh"},
		"no knock":                           {runs(ssh), []access.ServiceID{ssh}, false, errNotEntered, ""},
		"no connection":                      {runs(ssh), nil, true, errNotEntered, ""},
		"a connection to another service":    {runs(ssh), []access.ServiceID{web}, true, errNotEntered, ""},
		"to one of two":                      {runs(ssh, db), []access.ServiceID{db}, true, nil, "ssh db"},
		"stealth only, and any service":      {runs(firewall.StealthTrial), []access.ServiceID{web}, true, nil, "*stealth"},
		"stealth only, and no connection":    {runs(firewall.StealthTrial), nil, true, errNotEntered, ""},
		"stealth only, and no knock":         {runs(firewall.StealthTrial), []access.ServiceID{web}, false, errNotEntered, ""},
		"stealth and a service, and another": {runs(firewall.StealthTrial, ssh), []access.ServiceID{web}, true, errNotEntered, ""},
		"one is over":                        {append(runs(ssh), over...), []access.ServiceID{ssh}, true, nil, "ssh"},
		"all are over":                       {over, []access.ServiceID{db}, true, errTrialOver, ""},
		"nothing":                            {nil, []access.ServiceID{ssh}, true, errNothingOnTrial, ""},
		"a service that is unknown":          {runs(web), []access.ServiceID{web}, true, errNothingOnTrial, ""},
	} {
		confirmed, _, err := confirmable(holder.TrialState{Tried: row.tried, Entered: row.entered}, row.knocked, of)
		if got := strings.Join(trial.Names(confirmed), " "); !errors.Is(err, row.want) || got != row.confirmed {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
