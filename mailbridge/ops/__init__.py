"""What an operator needs: logging, supervision, alerts, systemd and the control socket."""
