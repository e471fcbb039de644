package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
)

// maintainer has the scripts of the server's package in one format.
type maintainer struct {
	common      nfpm.Scripts
	apkUpgraded string
}

// calls are the ends of scripts: each format has its own arguments for one event. The
// functions are those of server.sh.
var calls = map[string]struct{ before, installed, upgraded, removing, removed string }{
	"deb": {
		installed: `case $1 in configure) if [ -n "${2-}" ]; then installed upgrade; else installed new; fi ;; esac`,
		removing:  `case $1 in remove) removing ;; esac`,
		removed:   `case $1 in remove) removed ;; purge) purged ;; esac`,
	},
	"rpm": {
		installed: `if [ "$1" -gt 1 ]; then installed upgrade; else installed new; fi`,
		removing:  `if [ "$1" = 0 ]; then removing; fi`,
		removed:   `if [ "$1" = 0 ]; then removed; fi`,
	},
	"apk": {
		before:    `make_user`, // the owner of a directory of the package
		installed: `installed new`,
		upgraded:  `installed upgrade`,
		removing:  `removing`,
		removed:   `removed`,
	},
}

// scripts writes the scripts of a format: server.sh, and a call of one of its functions.
func (r release) scripts(format string) (m maintainer, err error) {
	text, err := os.ReadFile(filepath.Join(r.source, "container", "packages", "server.sh"))
	if err != nil {
		return m, err
	}
	dir := filepath.Join(r.stage, "scripts", format)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return m, err
	}
	call, known := calls[format]
	if !known {
		return m, fmt.Errorf("no scripts are known for the format %q", format)
	}
	for _, script := range []struct {
		name, call string
		to         *string
	}{
		{"before", call.before, &m.common.PreInstall},
		{"installed", call.installed, &m.common.PostInstall},
		{"upgraded", call.upgraded, &m.apkUpgraded},
		{"removing", call.removing, &m.common.PreRemove},
		{"removed", call.removed, &m.common.PostRemove},
	} {
		if script.call == "" {
			continue
		}
		*script.to = filepath.Join(dir, script.name)
		if err := os.WriteFile(*script.to, []byte(string(text)+"\n"+script.call+"\n"), 0o755); err != nil {
			return m, err
		}
		// An apk has the times of the scripts' files.
		if err := os.Chtimes(*script.to, r.date, r.date); err != nil {
			return m, err
		}
	}
	return m, nil
}
