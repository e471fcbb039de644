//go:build !ios

package carriers

import (
	"context"
	"os/exec"
	"time"
)

// systemSettings reads the settings of this computer.
func systemSettings() proxySettings {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, "/usr/sbin/scutil", "--proxy").Output()
	if err != nil {
		return proxySettings{}
	}
	return macSettings(string(text))
}
