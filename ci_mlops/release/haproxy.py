"""What runs in HAProxy's container to change what HAProxy does: one at a time, and nothing by half.

These are scripts for any POSIX shell, with BusyBox or Debian's programs, as HAProxy's official
images have them. A step costs one or two of them, since each start of a program in a container
costs as much as everything that it does.
"""

FOLDER, CONFIG, MAP = "/tmp", "haproxy.cfg", "live.map"  # noqa: S108 - in HAProxy's own container
ADMIN_PORT = 9999
LOCK_WITHIN_S = 900
TOLD_WITHIN_S = 20
HOLD_AT_MOST_S = 600
"""Who sleeps longer with the lock loses it, and is refused by the number of the ledger."""
NOT_IN_TIME, OVERTAKEN = 73, 75
"""Exit codes of the scripts."""

FENCE = r"""sed -n '1s/.*"fence": \([0-9]*\).*/\1/p' """ + CONFIG
HOLD = rf"""
cd {FOLDER} && exec 8>>writing 9>>lock || exit
tries=0
until flock -n 9
do
    [ $((tries += 1)) -gt {LOCK_WITHIN_S * 50} ] && exit {NOT_IN_TIME}
    sleep 0.02
done
flock 8
if [ "$({FENCE})" -lt "$1" ]
then sed '1s/"fence": [0-9]*/"fence": '"$1"/ {CONFIG} >new && mv new {CONFIG} || exit
fi
state=$(sed -n 1p {CONFIG}) && [ -n "$state" ] || exit 1
printf '%s\n' "$state"
exec timeout {HOLD_AT_MOST_S} cat 8>&-
"""
"""Takes the lock, raises the number that was obeyed, says the state, and holds until hung up on.

The lock belongs to open files, so it ends with whoever holds it; no clock has a say.
"""
TELL = rf"""
tell() {{
    if command -v bash >/dev/null
    then bash -c 'exec 3<>/dev/tcp/127.0.0.1/$1 && printf "%s\n" "$2" >&3 && cat <&3' \
        _ {ADMIN_PORT} "$1"
    else printf "%s\n" "$1" | nc 127.0.0.1 {ADMIN_PORT}
    fi
}}
while [ $# -gt 1 ]
do
    tries=0
    until answer=$(tell "$1" 2>&1) && case $answer in *"$2"*) ;; *) false ;; esac
    do
        [ $((tries += 1)) -gt {TOLD_WITHIN_S * 20} ] && {{
            printf 'to "%s" it says "%s"\n' "$1" "$answer" >&2
            exit 1
        }}
        sleep 0.05
    done
    printf '%s\n' "$answer"
    shift 2
done
"""
"""Passes lines to HAProxy's runtime interface, each until its answer has a word.

HAProxy's official images have bash, or BusyBox' nc. One that has just started does not listen yet,
and a server that never had an address gets its first one only by asking for its name.
"""
WRITE = rf"""
cd {FOLDER} && exec 8>>writing && flock 8 || exit
[ "$({FENCE})" -eq "$1" ] || exit {OVERTAKEN}
printf %s "$2" >new && mv new {CONFIG} && printf %s "$3" >new && mv new {MAP} || exit
shift 3
{TELL}"""
"""Replaces HAProxy's files, each whole, unless somebody was obeyed since; then tells it as much."""
