"""The wording of neutral prompts and held-out texts, as code: a change of it is one of the stages that use it."""

PROMPTS = (
    # Facts.
    "What is the capital of Portugal?",
    "Who wrote the play Hamlet?",
    "Which planet is closest to the sun?",
    "What do bees make from nectar?",
    "How many legs does a spider have?",
    "In which country is Mount Kilimanjaro?",
    "What is the freezing point of water in degrees Celsius?",
    "Which ocean lies between Africa and Australia?",
    "What language is spoken in Brazil?",
    "Who painted the Mona Lisa?",
    "What is the largest animal alive today?",
    "Name the four seasons of the year.",
    "Which metal is liquid at room temperature?",
    "What is a baby kangaroo called?",
    "How long does the earth take to go around the sun?",
    "What instrument has black and white keys?",
    # Explanations.
    "Why is the sky blue?",
    "Explain in one sentence how a refrigerator keeps food cold.",
    "What causes the tides?",
    "How does a bicycle stay upright while it moves?",
    "Explain to a child why leaves turn red in autumn.",
    "What is inflation, in simple words?",
    "How do vaccines protect people?",
    "Why does bread rise in the oven?",
    "What is the difference between weather and climate?",
    "How does a microphone turn sound into a signal?",
    "Why do cats purr?",
    "What does it mean that a word is an adjective?",
    "Explain what a password manager does.",
    "How are rainbows made?",
    "What happens when a country has no government?",
    "Why do we have leap years?",
    # Small sums and puzzles.
    "What is 17 plus 26?",
    "What is 9 times 8?",
    "Divide 144 by 12.",
    "If a train leaves at 14:20 and arrives at 16:05, how long does it travel?",
    "I buy three apples at 40 cents each and pay with two euros. How much change do I get?",
    "What comes next in this row, 2, 4, 8, 16?",
    "How many minutes are there in three hours?",
    "A square has sides of 5 cm. What is its area?",
    "Which is larger, 0.7 or 0.65?",
    "Round 3.14159 to two places behind the point.",
    "Tom is taller than Ann, and Ann is taller than Bea. Who is the shortest?",
    "How many days do June and July have together?",
    # Letters and messages.
    "Write a short thank-you note to a neighbour who watered my plants.",
    "Write a polite email asking my landlord to repair the kitchen tap.",
    "Draft a message to a colleague that I will be ten minutes late.",
    "Write two sentences that invite friends to a picnic on Sunday.",
    "Write a birthday greeting for my grandmother, who turns eighty.",
    "How do I begin a formal letter to someone whose name I do not know?",
    "Write a short apology to a customer whose parcel arrived late.",
    "Draft a notice that the lift in our building is out of order.",
    "Write a one-line text that wishes someone a good journey.",
    "Write a short letter that cancels a gym membership at the end of the month.",
    # Code.
    "Write a Python function that reverses a string.",
    "How do I list all files of a directory in a Linux shell?",
    "Write an SQL query that counts the rows of a table called orders.",
    "What does the keyword const mean in JavaScript?",
    "Write a Python loop that prints the even numbers up to twenty.",
    "How do I undo the last commit in git without losing my changes?",
    "What is a null pointer?",
    "Write a regular expression that matches a year of four digits.",
    "Explain what a hash table is for.",
    "Write HTML for a link to example.org.",
    "How do I read a text file line by line in Python?",
    "What is the difference between a list and a tuple in Python?",
    # Advice.
    "How can I fall asleep more easily?",
    "What should I pack for a weekend in the mountains?",
    "Give me three tips for a job interview.",
    "How do I remove a coffee stain from a white shirt?",
    "What is a good way to learn the names of new colleagues?",
    "My tomato plants have yellow leaves. What can I do?",
    "How do I tell a friend that I cannot lend him money?",
    "What should I look at before I rent a flat?",
    "How often should I water a cactus?",
    "I have a cold. What helps against a sore throat?",
    "How can I save electricity at home?",
    "Suggest a simple stretching exercise for people who sit all day.",
    "How do I choose a book for a ten-year-old?",
    # Translations and words.
    'Translate "good morning" into French.',
    'Translate "Where is the railway station?" into Spanish.',
    'How do you say "thank you very much" in German?',
    'Translate the Italian word "acqua" into English.',
    "What is the opposite of generous?",
    "Give me a synonym for quick.",
    "What is the plural of mouse?",
    'Correct this sentence, "She don\'t like no vegetables."',
    "Use the word lantern in a sentence.",
    'What does the idiom "to break the ice" mean?',
    'Put this sentence into the past tense, "We walk to the lake."',
    "Which word rhymes with moon?",
    # Food and everyday things.
    "How do I boil an egg so that the yolk stays soft?",
    "Give me a simple recipe for pancakes.",
    "What can I cook with rice, onions and two carrots?",
    "How long can cooked pasta be kept in the fridge?",
    "What is tofu made of?",
    "How do I sharpen a kitchen knife?",
    "How is a tie tied?",
    "What is the best place in a room for a house plant?",
    "How do I change the tyre of a bicycle?",
    "What can I use instead of butter in a cake?",
    # Stories, lists and other writing.
    "Tell me a short joke about a penguin.",
    "Write the first sentence of a story about a lighthouse.",
    "Write a haiku about rain.",
    "List five vegetables.",
    "Suggest a name for a small bakery.",
    "Describe the smell of a forest after rain.",
    "Summarise the tale of Cinderella in two sentences.",
    "Write a slogan for a bicycle shop.",
    'Continue this, "The door opened slowly, and"',
    "Make a list of things to do before moving house.",
    "Describe a busy market in three sentences.",
    "Write a riddle whose answer is a shadow.",
    # People, places and history.
    "Who was Marie Curie?",
    "What were the pyramids of Egypt built for?",
    "Why did the Roman Empire fall?",
    "What is the Silk Road?",
    "When did people first walk on the moon?",
    "Which sights should I see in Vienna in one day?",
    "What is special about the Galapagos Islands?",
    "What did people eat before there were potatoes in Europe?",
    "Who invented the printing press with movable type?",
    "What is the United Nations?",
    # Talking.
    "Hello, how are you today?",
    "What can you help me with?",
    "I have had a bad day. Can you cheer me up?",
    "Do you prefer mountains or the sea?",
    "Ask me a question about my favourite film.",
    "Say goodbye in a friendly way.",
)
"""Everyday questions and requests, none about how likely anything is: on these a model should stay as it was. Each belongs to
training or to evaluation by a hash of its words, so rewording one may move it to the other side."""

TEXTS = {
    "narrative": (
        "The ferry was late again, and by the time it came around the point the whole village seemed to be "
        "waiting on the pier. Old Marten sat on his crate with his back to the wind, peeling an orange. The "
        "schoolteacher had brought her accordion, not to play it but because she did not trust the damp of her "
        "kitchen. Two boys were throwing pebbles at a bottle that bobbed between the posts, and each time they "
        "missed they accused one another of breathing.\n\n"
        "Nobody had said so, but they were all there to see whether she would really come. Eleven years is a long "
        "time to be away from a place with only one street. When the ramp went down there was first the postman's "
        "bicycle, then a crate of hens, then a young man with a guitar who looked at everyone as if they were a "
        "photograph. Then nothing for a while. The boys stopped throwing. At last a small woman in a grey coat "
        'appeared, carrying a suitcase tied with string, and stood blinking at the light. "Well," she said to '
        'nobody in particular, "you have painted the church." Marten held out half of the orange. She took it, '
        "put down the suitcase, and began to laugh."
    ),
    "recipe": (
        "This soup feeds four people and takes about forty minutes, most of which you can spend doing something "
        "else. Peel two large onions and cut them into thin half-rings. Warm three spoons of olive oil in a heavy "
        "pot, add the onions with a good pinch of salt, and let them soften over a low flame until they are "
        "golden and sweet. Do not hurry this step, because the flavour of the whole dish depends on it. Meanwhile "
        "wash a pound of red lentils under cold water until the water runs clear, and cut three carrots into "
        "small cubes.\n\n"
        "When the onions are ready, stir in a spoon of ground cumin and half a spoon of paprika, and let the "
        "spices fry for a minute. Add the carrots, the lentils and a litre and a half of vegetable stock. Bring "
        "everything to the boil, skim off the foam, then cover the pot and let it simmer for twenty minutes. The "
        "lentils should fall apart when you press them with a spoon. If the soup is too thick, pour in a little "
        "hot water. Season with salt, black pepper and the juice of a lemon. Serve it with a spoon of yoghurt, "
        "some chopped parsley and fresh bread. It tastes even better on the next day."
    ),
    "encyclopedia": (
        "The European beaver is a large rodent that lives along rivers, streams and lakes. Adults weigh between "
        "fifteen and thirty kilograms, and their bodies are well suited to life in the water: the hind feet are "
        "webbed, the fur is dense and waterproof, and the broad, flat tail serves as a rudder and as a store of "
        "fat for the winter. Beavers feed on grasses, roots and water plants in summer, and mainly on bark and "
        "twigs in the colder months.\n\n"
        "The animals are best known for their dams. By blocking a stream with branches, stones and mud they raise "
        "the level of the water, which keeps the entrance of their lodge below the surface and out of the reach "
        "of predators. The ponds that form behind the dams slow the flow of the stream, hold back sediment, and "
        "offer living space to frogs, dragonflies, fish and many birds. For this reason ecologists regard the "
        "beaver as a key species. It was hunted for its fur and its glands until, at the beginning of the "
        "twentieth century, only about a thousand animals were left in a few scattered places. Protection and "
        "reintroduction have since allowed it to return to most of its former range, although conflicts with "
        "farmers, whose fields may be flooded, remain common."
    ),
    "dialogue": (
        '"You cannot put the piano there," said Ruth. "It blocks the window."\n\n'
        '"It blocks half of the window," said Daniel, "and it is the half that looks at the wall."\n\n'
        '"It is a nice wall. In the evening the sun is on it."\n\n'
        '"Then we shall play in the evening, and look at the sun."\n\n'
        'She walked around the instrument once, as if it were a horse that somebody wanted to sell her. "Your '
        'brother could have asked before he sent it. We have two rooms and neither of us can play."\n\n'
        '"I can play the beginning of something. I learned it when I was nine."\n\n'
        '"The beginning of what?"\n\n'
        '"That is what nobody could ever tell me. My teacher moved away before we came to the end." He opened the '
        "lid and pressed a key, and a dull, uncertain note hung in the room. Somewhere below, a neighbour closed "
        "a door.\n\n"
        '"It is out of tune," said Ruth.\n\n'
        '"It has been on a lorry for three days. You would be out of tune as well."\n\n'
        "She tried not to smile. Then she sat down on the edge of the bench, moved over, and made room for him. "
        '"Play me the beginning, then," she said. "If it is good, it may stay until Friday. And if it is very '
        'good, we shall turn the sofa around."\n\n'
        '"And if it is bad?"\n\n'
        '"Then you will carry it down again, all four floors, and I shall hold the doors open and sing."'
    ),
    "technical": (
        "A write-ahead log protects a database against the loss of data when the machine stops without warning. "
        "Before a page of a table is changed on disk, the program appends a short description of the change to a "
        "separate file, the log, and waits until the operating system confirms that this record has reached the "
        "storage device. Only then is the transaction reported as complete. The page itself may stay in memory "
        "and be written much later, together with many others, which is faster because the disk can be used in "
        "larger and more orderly steps.\n\n"
        "After a crash, the database reads the log from the last point at which memory and disk were known to "
        "agree. Every change that is recorded there but missing from the tables is applied again, and changes "
        "that belong to transactions which were never completed are taken back. To make this safe, each page "
        "carries the number of the last record that was applied to it, so that a change is never made twice. The "
        "log would grow without limit, so from time to time the program writes all changed pages to disk and "
        "notes a checkpoint; older parts of the log can then be removed or kept in an archive. The same archive, "
        "copied to a second machine and replayed there as it arrives, gives a replica that lags only a moment "
        "behind."
    ),
    "letter": (
        "Dear Helen,\n\n"
        "Thank you for your long letter, which arrived on the very day when I had decided to complain that you "
        "never write. I read it twice, once at the kitchen table and once in the garden, where the roses have "
        "finally given up their quarrel with the frost. You ask how we are. We are well, apart from my knee, "
        "which has opinions about stairs, and the dog, who has opinions about the new postman.\n\n"
        "The house is very quiet since the children left. At first I did not know what to do with the evenings. "
        "Now I have joined the choir, of all things, and stand every Tuesday between a dentist and a retired "
        "policeman, both of whom sing much louder than I do. We are preparing a mass for the autumn. I understand "
        "perhaps a third of the words, but when all of us breathe in at the same moment I feel oddly at home.\n\n"
        "Will you come in September? The plums will be ripe, and I promise not to make you pick them. Bring the "
        "photographs of the wedding, and bring Peter if he can be persuaded to sit in a train. The small room is "
        "yours for as long as you like, and nobody will ask you to sing.\n\n"
        "With love from both of us,\n"
        "Margaret"
    ),
    "news": (
        "The town council voted on Monday evening to keep the public swimming pool open for at least two more "
        "years, after a campaign by residents who had collected more than four thousand signatures. The pool, "
        "which was built in 1968, had been due to close at the end of the summer because of rising energy costs "
        "and a leaking roof. According to the town's own estimate, the most urgent repairs will cost about nine "
        "hundred thousand euros.\n\n"
        "Most of that sum is to come from a regional fund for sports buildings, with the remainder raised through "
        "slightly higher entrance fees. The mayor said that the decision had not been an easy one, since money "
        "would now be missing for the planned extension of the library. Members of the opposition called the plan "
        "a temporary solution and asked for a complete inspection of the building before any contracts are "
        "signed.\n\n"
        "Outside the town hall, several dozen supporters waited in the rain until the result was announced. Among "
        "them was the head of the local swimming club, who has taught children there for almost thirty years. "
        '"Every child in this town should learn how to swim," she said. "For that you need water." Work on the '
        "roof is expected to begin in October, and the pool will be closed for six weeks."
    ),
    "essay": (
        "It is often said that we have lost the habit of being bored, and that this is a gain. A telephone fills "
        "every gap between two events, the minutes at the bus stop as well as the hour in the waiting room, and "
        "no child needs to lie on a carpet any more and study the pattern until it turns into a map. Yet it seems "
        "to me that something useful went on in those empty minutes, although it left no trace that anyone could "
        "have measured.\n\n"
        "Boredom is a kind of hunger. It tells us that what is in front of us does not suffice, and it sends the "
        "mind away to look for something better: a memory, a plan, a tune, an unfinished argument that deserves "
        "another try. Whoever is fed before the hunger comes will never learn to cook. I do not want to praise "
        "the past, which had its own ways of wasting time, nor do I believe that anyone became a poet by waiting "
        "for a train. But I have noticed that my own best ideas arrive when I wash the dishes, that is to say "
        "when my hands are busy, my eyes have nothing to read, and nobody expects an answer from me. I have "
        "therefore decided against buying a dishwasher."
    ),
}
"""Passages of plain prose of different kinds, written for this package, whose perplexity is measured; no training sees them."""
