#!/bin/sh
# Three User Mode Linux guests, of which one serves NFS to the two others, for tests.faults.shared_file_system:
#
#     nfs_guests.sh FOLDER boot               boot them; FOLDER, absolute, is for their files
#     nfs_guests.sh FOLDER mount OPTIONS      mount /shared on the clients, for example with vers=4.2,actimeo=60
#     nfs_guests.sh FOLDER run NAME COMMAND   run a command on server, first (10.0.0.2) or second
#     nfs_guests.sh FOLDER freeze NAME        let a guest stand still; thaw NAME lets it go on
#     nfs_guests.sh FOLDER end
#
# As root, on Debian with user-mode-linux, nfs-kernel-server, nfs-common, iproute2, e2fsprogs, kmod and gcc. The guests are
# kernels of their own. They see this machine's files and cannot change them, but for FOLDER/out.
# EXPORT=tmpfs serves memory in place of ext4: all that tells a change there is the time, in steps of 10 ms.
set -eu
here=$1 order=$2
shift 2
export EXPORT="${EXPORT:-ext4}"

guest() {  # the first process of a guest
    cat << END
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc && mount -t sysfs sys /sys && mkdir /dev/shm && mount -t tmpfs tmpfs /dev/shm
name=\$(sed 's/.*guest=\([a-z]*\).*/\1/' /proc/cmdline)
for folder in /tmp /run /var/lib/nfs /mnt; do mount -t tmpfs tmpfs \$folder; done
mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /mnt/shared
mount --bind /usr/lib/uml/modules /lib/modules
mount -t hostfs -o "$here/out" none "$here/out"
for file in hosts exports; do touch /mnt/\$file; mount --bind /mnt/\$file /etc/\$file; done
hostname \$name
printf '127.0.0.1 localhost\n10.0.0.1 server\n10.0.0.2 first\n10.0.0.3 second\n' > /etc/hosts
ip link set lo up
ip address add \$(sed -n "s/ \$name\$//p" /etc/hosts)/24 dev eth0 && ip link set eth0 up
for module in nfs nfsv3 nfsv4; do modprobe \$module; done
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state
rpcbind -w; rpc.statd
if [ \$name = server ]; then
    modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd
    if [ $EXPORT = tmpfs ]; then mount -t tmpfs tmpfs /mnt/shared; else mount -t ext4 /dev/ubda /mnt/shared; fi
    echo '/mnt/shared *(rw,no_root_squash,async,no_subtree_check,fsid=0)' > /etc/exports
    echo 15 > /proc/fs/nfsd/nfsv4gracetime; echo 15 > /proc/fs/nfsd/nfsv4leasetime
    rpc.nfsd 8; rpc.mountd; exportfs -a
fi
cd "$here/out" && touch "\$name.up"
while :; do  # runs what is ordered
    for job in "\$name".*.order; do
        [ -e "\$job" ] || continue
        mv "\$job" "\${job%.order}.taken"
        (sh "\${job%.order}.taken" > "\${job%.order}.said" 2>&1 < /dev/null; echo \$? > "\${job%.order}.part"
            mv "\${job%.order}.part" "\${job%.order}.status") &
    done
    sleep 0.2
done
END
}

boot() {  # NAME NUMBER, further options; in a network of its own
    name=$1 number=$2
    shift 2
    LD_PRELOAD="$here/registers.so" setsid linux.uml "mem=${MEMORY:-1000M}" rootfstype=hostfs rootflags=/ ro "init=$here/guest" "guest=$name" \
        "umid=$name" "uml_dir=$here" con=null con0=null,fd:1 "eth0=mcast,52:54:00:00:00:0$number,230.0.0.1,1102,0" "$@" \
        > "$here/$name.console" 2>&1 < /dev/null &
}

run() {  # NAME COMMAND
    job=$here/out/$1.$(date +%s%N)
    printf '%s\n' "$2" > "$job.part" && mv "$job.part" "$job.order"
    while [ ! -e "$job.status" ]; do sleep 0.2; done
    cat "$job.said"
    return "$(cat "$job.status")"
}

case $order in
boot)
    rm -rf "$here/out" && mkdir -p "$here/out" /lib/modules
    gcc -O2 -shared -fPIC -o "$here/registers.so" "$(dirname "$0")/nfs_guests.c"
    guest > "$here/guest" && chmod +x "$here/guest"
    truncate -s 2G "$here/disk" && mkfs.ext4 -q -F "$here/disk"
    unshare --net "$0" "$here" boot-all
    for name in server first second; do while [ ! -e "$here/out/$name.up" ]; do sleep 0.5; done; done
    ;;
boot-all)
    ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo
    boot server 1 "ubd0=$here/disk" && boot first 2 && boot second 3
    ;;
mount)
    case $1 in *vers=3*) path=/mnt/shared ;; *) path=/ ;; esac
    for name in first second; do
        run $name "umount /mnt/shared 2> /dev/null; mount -t nfs -o $1 server:$path /mnt/shared"
    done
    ;;
run) run "$@" ;;
freeze) kill -STOP "$(cat "$here/$1/pid")" ;;
thaw) kill -CONT "$(cat "$here/$1/pid")" ;;
end) for name in server first second; do kill -KILL "-$(cat "$here/$name/pid")"; done ;;
esac
