# A host under test: systemd, SSH, Python, and nothing that a freshly installed server would not have. BASE is made
# of the distribution's own packages (host_image.sh); the certificates are those this machine trusts.
ARG BASE
FROM ${BASE}
COPY certificates/ /usr/local/share/ca-certificates/
RUN update-ca-certificates >/dev/null 2>&1 \
    && systemctl mask systemd-modules-load.service systemd-sysctl.service systemd-udevd.service \
        systemd-networkd-wait-online.service sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
        dev-hugepages.mount tmp.mount getty.target console-getty.service systemd-logind.service 2>/dev/null \
    && rm -f /etc/systemd/system/sockets.target.wants/ssh.socket \
    && systemctl enable ssh.service 2>/dev/null \
    && rm -f /etc/ssh/ssh_host_* \
    && mkdir -p /etc/systemd/system/ssh.service.d \
    && printf '[Service]\nExecStartPre=\nExecStartPre=/bin/sh -c "test -s /etc/ssh/ssh_host_ed25519_key || ssh-keygen -q -t ed25519 -N \\"\\" -f /etc/ssh/ssh_host_ed25519_key"\nExecStartPre=/usr/sbin/sshd -t\n' \
        >/etc/systemd/system/ssh.service.d/host-key.conf \
    && printf 'UseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n' >/etc/ssh/sshd_config.d/test.conf \
    && mkdir -p -m 700 /root/.ssh
ENV container=docker
STOPSIGNAL SIGRTMIN+3
# Mounts of a container are private and those of a machine shared, which systemd hands credentials to services through.
CMD ["/bin/sh", "-c", "mount --make-rshared / && exec /sbin/init"]
