// A client of BookKeeper: `java Driver URI` takes lines and answers each with one line. URI is that of the metadata.
//   format         -> OK            (a new cluster's znodes)
//   bookies        -> BOOKIES N     (that are registered)
//   create         -> LEDGER ID     (on two bookies of those there are, both of which must have each entry)
//   write FROM TO  -> OK            (one entry for each number, to the ledger created last; or FENCED)
//   ensembles ID   -> ENSEMBLES N   (how many sets of bookies the ledger has had)
//   holder ID      -> HOLDER NAME   (one of the bookies that it was made on)
//   recover ID TO  -> OK            (opens it as after its writer's death, which fences the writer, and reads all numbers below TO)
//   drop ID        -> OK            (deletes it)
// What fails answers ERROR and why.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Enumeration;
import org.apache.bookkeeper.client.BKException;
import org.apache.bookkeeper.client.BookKeeper;
import org.apache.bookkeeper.client.BookKeeperAdmin;
import org.apache.bookkeeper.client.LedgerEntry;
import org.apache.bookkeeper.client.LedgerHandle;
import org.apache.bookkeeper.client.api.LedgerMetadata;
import org.apache.bookkeeper.conf.ClientConfiguration;
import org.apache.bookkeeper.conf.ServerConfiguration;

public final class Driver {
    private static final byte[] PASSWORD = {1};

    private final String uri;
    private BookKeeper client;
    private LedgerHandle ledger;

    private Driver(String uri) {
        this.uri = uri;
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                System.out.println(driver.answer(line.split(" ")));
            } catch (Exception error) {
                error.printStackTrace();
                System.out.println("ERROR " + error);
            }
        }
        System.exit(0);
    }

    private BookKeeper client() throws Exception {
        if (client == null) {
            ClientConfiguration config = new ClientConfiguration().setMetadataServiceUri(uri).setZkTimeout(6000);
            config.setAddEntryTimeout(3).setReadEntryTimeout(3);
            client = new BookKeeper(config);
        }
        return client;
    }

    private String answer(String[] words) throws Exception {
        switch (words[0]) {
            case "format":
                ServerConfiguration config = new ServerConfiguration();
                config.setMetadataServiceUri(uri);
                return BookKeeperAdmin.initNewCluster(config) ? "OK" : "ERROR there is a cluster";
            case "bookies":
                try (BookKeeperAdmin admin = new BookKeeperAdmin(client())) {
                    return "BOOKIES " + admin.getAvailableBookies().size();
                }
            case "create":
                ledger = client().createLedger(2, 2, 2, BookKeeper.DigestType.CRC32C, PASSWORD);
                return "LEDGER " + ledger.getId();
            case "write":
                return write(Integer.parseInt(words[1]), Integer.parseInt(words[2]));
            case "ensembles":
                return "ENSEMBLES " + metadata(words[1]).getAllEnsembles().size();
            case "holder":
                return "HOLDER " + metadata(words[1]).getEnsembleAt(0).get(0);
            case "recover":
                return recover(Long.parseLong(words[1]), Integer.parseInt(words[2]));
            case "drop":
                client().deleteLedger(Long.parseLong(words[1]));
                return "OK";
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private LedgerMetadata metadata(String id) throws Exception {
        try (LedgerHandle found = client().openLedgerNoRecovery(Long.parseLong(id), BookKeeper.DigestType.CRC32C, PASSWORD)) {
            return found.getLedgerMetadata();
        }
    }

    private String write(int from, int to) throws Exception {
        for (int n = from; n < to; n++) {
            try {
                long entry = ledger.addEntry(Integer.toString(n).getBytes());
                if (entry != n) {
                    return "ERROR " + n + " became entry " + entry;
                }
            } catch (BKException.BKLedgerFencedException | BKException.BKLedgerClosedException fenced) {
                return "FENCED";
            }
        }
        return "OK";
    }

    private String recover(long id, int to) throws Exception {
        ClientConfiguration config = new ClientConfiguration().setMetadataServiceUri(uri).setZkTimeout(6000);
        try (BookKeeper other = new BookKeeper(config);
                LedgerHandle found = other.openLedger(id, BookKeeper.DigestType.CRC32C, PASSWORD)) {
            if (found.getLastAddConfirmed() != to - 1) {
                return "ERROR it ends with " + found.getLastAddConfirmed();
            }
            Enumeration<LedgerEntry> entries = found.readEntries(0, to - 1);
            for (int n = 0; n < to; n++) {
                String text = new String(entries.nextElement().getEntry());
                if (!text.equals(Integer.toString(n))) {
                    return "ERROR entry " + n + " is " + text;
                }
            }
            return "OK";
        }
    }

}
