package carriers

import "golang.org/x/sys/windows/registry"

// systemSettings reads the settings of this user.
func systemSettings() proxySettings {
	const path = `Software\Microsoft\Windows\CurrentVersion\Internet Settings`
	key, err := registry.OpenKey(registry.CURRENT_USER, path, registry.QUERY_VALUE)
	if err != nil {
		return proxySettings{}
	}
	defer key.Close()
	enabled, _, err := key.GetIntegerValue("ProxyEnable")
	if err != nil || enabled == 0 {
		return proxySettings{}
	}
	server, _, err := key.GetStringValue("ProxyServer")
	if err != nil {
		return proxySettings{}
	}
	override, _, _ := key.GetStringValue("ProxyOverride") // without it, there are no exceptions
	return windowsSettings(server, override)
}
