// One of the processes that Hadoop's election chooses from: `java Elector HOST:PORT,... NAME SESSION_MS`.
// It joins at once and prints what becomes of it: ACTIVE, STANDBY, NEUTRAL, FENCE NAME, FATAL why.
// Lines it takes: `active` prints DATA and the name of the active one; `quit` leaves the election in good order; `join` joins again.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.hadoop.ha.ActiveStandbyElector;
import org.apache.zookeeper.ZooDefs;

public final class Elector implements ActiveStandbyElector.ActiveStandbyElectorCallback {
    public static void main(String[] arguments) throws Exception {
        byte[] name = arguments[1].getBytes(StandardCharsets.UTF_8);
        ActiveStandbyElector elector = new ActiveStandbyElector(arguments[0], Integer.parseInt(arguments[2]), "/hadoop-ha/cluster",
            ZooDefs.Ids.OPEN_ACL_UNSAFE, List.of(), new Elector(), 3, null);
        elector.ensureParentZNode();
        elector.joinElection(name);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            switch (line) {
                case "active" -> say("DATA " + new String(elector.getActiveData(), StandardCharsets.UTF_8));
                case "quit" -> {
                    elector.quitElection(false);
                    say("QUIT");
                }
                case "join" -> elector.joinElection(name);
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    private static void say(String what) {
        System.out.println(what);
    }

    @Override
    public void becomeActive() {
        say("ACTIVE");
    }

    @Override
    public void becomeStandby() {
        say("STANDBY");
    }

    @Override
    public void enterNeutralMode() {
        say("NEUTRAL");
    }

    @Override
    public void notifyFatalError(String why) {
        say("FATAL " + why);
    }

    @Override
    public void fenceOldActive(byte[] name) {
        say("FENCE " + new String(name, StandardCharsets.UTF_8));
    }
}
