//go:build !windows && (!darwin || ios)

package carriers

// systemSettings returns none: programs have the environment.
func systemSettings() proxySettings { return proxySettings{} }
