package profile

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"

	"sallyport/cmd/internal/hint"
)

// ours is the name of this program's directory in the directories of a user.
const ours = "sallyport"

// stateDirs returns the directories that may contain the nonce files. The first is
// for new files. A file that exists in another one is used there.
func stateDirs() ([]string, error) {
	switch runtime.GOOS {
	case "windows":
		return one(os.UserCacheDir()) // %LocalAppData%: local, not roaming
	case "darwin", "ios":
		return inHome("", "", "Library/Application Support")
	}
	return inHome("XDG_STATE_HOME", "STATE_DIRECTORY", ".local/state")
}

// configDirs returns the directories that may contain the profiles, in the order of
// stateDirs.
func configDirs() ([]string, error) {
	switch runtime.GOOS {
	case "windows":
		return one(os.UserConfigDir())
	case "darwin", "ios":
		return inHome("", "", "Library/Application Support")
	}
	return inHome("XDG_CONFIG_HOME", "CONFIGURATION_DIRECTORY", ".config")
}

func one(dir string, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	return []string{filepath.Join(dir, ours)}, nil
}

// inHome returns our directories in the directory of the variable xdg (XDG Base
// Directory Specification), or else in the first one of the variable unit, which
// systemd sets for a unit, and in the user's home directory. Relative paths are
// ignored, as the specification requires.
func inHome(xdg, unit, below string) (dirs []string, err error) {
	if dir := variable(xdg); filepath.IsAbs(dir) {
		return []string{filepath.Join(dir, ours)}, nil
	}
	for dir := range strings.SplitSeq(variable(unit), ":") {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Join(dir, ours))
			break
		}
	}
	if home := homeDir(); home != "" {
		dirs = append(dirs, filepath.Join(home, below, ours))
	}
	if len(dirs) > 0 {
		return dirs, nil
	}
	err = errors.New("HOME is not set, and the password database has no home directory of this user")
	if xdg == "" {
		return nil, hint.With(err, "set HOME")
	}
	return nil, hint.With(err, "set "+xdg+" to a directory of this user")
}

func variable(name string) string {
	if name == "" {
		return ""
	}
	return os.Getenv(name)
}

// homeDir returns the home directory of this user, by the environment or, as for a
// timer, by the password database; empty: unknown.
func homeDir() string {
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return home
	}
	u, err := user.Current()
	if err != nil || !filepath.IsAbs(u.HomeDir) {
		return ""
	}
	return u.HomeDir
}

// existing returns the first of the directories in which the first file exists, or else
// the next file, or else the first of all.
func existing(dirs []string, files ...string) string {
	for _, file := range files {
		for _, dir := range dirs {
			if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
				return dir
			}
		}
	}
	return dirs[0]
}
