#!/bin/sh
# The scripts of the server's package, in each format: these functions, and a call.
set -e

# running reports whether systemd runs this host; in a build of an image it does not.
running() { [ -d /run/systemd/system ]; }

make_user() {
  if grep -q '^sallyport:' /etc/passwd; then return 0; fi
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers /usr/lib/sysusers.d/sallyport.conf
  elif command -v useradd >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir /etc/sallyport --shell /usr/sbin/nologin sallyport
  else
    grep -q '^sallyport:' /etc/group || addgroup -S sallyport
    adduser -S -D -H -h /etc/sallyport -s /sbin/nologin -G sallyport sallyport
  fi
}

# installed runs when the files are there. An upgrade restarts the units that run.
installed() { # new or upgrade
  make_user
  if [ "$(ls -nd /etc/sallyport | tr -s ' ' | cut -d ' ' -f 3)" = 0 ]; then
    chown sallyport:sallyport /etc/sallyport
    chmod 750 /etc/sallyport
  fi
  running || return 0
  systemctl daemon-reload
  if [ "$1" = upgrade ]; then restart_units; fi
}

# restart_units stops the server, which records its leases and leaves connections in systemd's
# store, restarts the holder, and starts the server, which opens the leases again. All that is
# one restart: systemd empties the store of a server that is stopped by itself. The holder's
# table stays meanwhile, closed, so nothing opens. The server may wait for others when it
# starts, such as etcd: the script does not wait for it.
restart_units() {
  case $(systemctl show -p ActiveState --value sallyportd-firewall.service) in
    active | activating | reloading) ;;
    *) systemctl try-restart --no-block sallyportd.service; return 0 ;;
  esac
  together=/run/systemd/system/sallyportd.service.d/sallyport-upgrade.conf
  mkdir -p "${together%/*}"
  printf '[Unit]\nPartOf=sallyportd-firewall.service\n' >"$together"
  systemctl daemon-reload
  systemctl try-restart sallyportd-firewall.service ||
    echo "sallyport: the holder did not start, and the firewall stays closed: journalctl -u sallyportd-firewall" >&2
  rm "$together"
  rmdir "${together%/*}" 2>/dev/null || true # the administrator may have files there
  systemctl daemon-reload
}

# removing runs while the files are there. The holder leaves its table, closed.
removing() {
  running || return 0
  if systemctl is-active -q sallyportd-firewall.service; then
    echo "sallyport: the firewall stays closed until the next boot. To open it now: nft delete table inet sallyport" >&2
  fi
  systemctl disable --now sallyportd.service sallyportd-firewall.service
}

removed() {
  if running; then systemctl daemon-reload; fi
}

# purged removes the configuration, the secrets and the state. The user stays, so that no
# other user gets the files that it may have elsewhere.
purged() { rm -rf /etc/sallyport; }
