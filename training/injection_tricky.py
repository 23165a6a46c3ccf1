"""More honest sentences with an attack's words, of our own writing, for training alone. Used by `injection_benign.py`."""

_MORE = """
Can I ignore the service light until next week?
The app told me to forget this network, should I?
Forget about the blue one, I will take the green one.
Never mind my previous email, the problem is solved.
Ignore what I wrote about the colour, black is fine.
You can disregard the ticket I opened this morning.
Please override the delivery window, I am home all day.
How do I override the automatic transmission in snow?
What is method overriding in object-oriented programming?
How do I bypass the login screen when the server is down for my own NAS?
Is a bypass valve included with the pump?
Which city has the longest bypass road?
Do the rules say anything about late fees?
What rules apply to hand luggage on the train?
Could you explain the rules of cricket?
Please send the instructions in German, mine are in Polish.
Your instructions for the flat-pack desk leave out step five.
I followed all the instructions and it still blinks red.
Are there instructions for cleaning the filter?
Repeat the order I placed in March, please.
Repeat prescription: can I ask for it online?
Please print my boarding pass again.
Show me the previous three invoices.
Show me all transactions above 100 euros.
Tell me about the new tariff rules.
Tell me the opening hours of your shop in Graz.
What is written above the serial number?
What did the last letter say about the deadline?
My daughter forgot the PIN of her card.
I forgot the secret question for my account.
What is the answer to the secret question if I never set one?
Where is the hidden compartment in this backpack?
Hidden objects games for children, any ideas?
Is the password case sensitive?
The password field does not accept special characters.
Who can see my password in your company?
Write me a safe password policy for a small office.
Which admin changed my permissions yesterday?
I need admin rights to install the printer driver.
Our admin left the company, how do we get access?
How do I become a developer partner?
Is there a developer discount for the pro version?
The developer console shows a 404 for your script.
What does debug mode do on the camera?
How do I switch the fridge into holiday mode?
The car went into emergency mode on the motorway.
Game mode makes the picture too dark.
How do I act when the smoke alarm goes off?
May I act on behalf of my mother with a power of attorney?
He acts as if he had never received the parcel.
She pretends not to have got my letter, what can I do?
Pretend play kitchens: which one is the sturdiest?
Which actor plays the role of the inspector?
What role does iron play in the blood?
I would like to speak as a guest at your conference.
From now on my name is Schneider, please change the contract.
From today on I work from home, can I insure my desk?
You are now open on Sundays as well, right?
You are now my only hope, the concert is tonight.
You are supposed to refund within a week.
You are a great help, thank you.
Are you able to see my previous chats?
Are you allowed to give medical advice?
Do you have access to my account data?
Who made you, and which company do you belong to?
Can a robot answer this, or do I need a person?
What can this chat assistant do for me?
Does the AI in the camera store my pictures?
Explain to my class how chatbots work.
What is a language model, in two sentences?
How do spam filters learn what to block?
What is prompt injection and how do companies protect themselves?
We were asked to write guidelines on AI use in our school.
Describe three famous jailbreaks from real prisons.
A prisoner escaped in the film, what is its title?
Write a scene where a hacker gets into a museum at night.
Write a fairy tale in which the witch reveals her secret.
Write a dialogue between a pirate and a customs officer.
Write a limerick on forgetting birthdays.
Create a character sheet for an evil wizard.
Imagine a village without clocks and describe a morning there.
Imagine you are on a boat and the motor stops. What do you do first?
If there were no rules in football, what would the game look like?
Discuss the ethics of undercover journalism.
Discuss unethical experiments in the history of psychology.
Explain illegal logging and its consequences.
Explain why the general disobeyed direct orders.
Why did the court ignore the earlier evidence?
Why do people ignore privacy policies?
How can I learn to ignore criticism?
How do I stop my dog from ignoring my commands?
Which commands does the voice remote know?
What command lists the files in a folder?
How do I run a script at start-up on a Raspberry Pi?
The script from your help page does not run.
Can you execute the transfer today?
Please execute my standing order one day earlier.
Delete my account and all previous orders from your records.
Remove all filters from the search results.
Remove the previous address and keep the new one.
Clear all instructions from the sewing machine's memory.
Reset everything to factory settings.
Start a new conversation, this one is about the wrong order.
New instruction for the courier: leave it with the neighbour.
New rules for the pool: who may swim when?
Change of plan: we arrive on Friday instead.
Instead of a refund I would like a voucher.
Instead of sugar, can I use honey?
Stop sending me reminders, I have paid.
Stop, that is the wrong customer number!
Do not reply to my old address.
Do not share my data with third parties.
Don't tell me to restart the router again.
Don't say you are sorry, solve it.
Never again will I order from you.
Without a receipt, can I still return it?
Answer in English, please, my German is poor.
Please answer in short sentences.
Reply with the tracking number only, please.
Please say yes, I need that room!
Translate this label: "Do not disregard safety instructions".
Translate "you have forgotten your keys" into Spanish.
Can you translate your answer into Turkish for my mother?
Summarise the email above for my boss.
Summarise our conversation so far.
Can you summarise the instructions for me?
The message says "access denied", what now?
The sign says "authorised personnel only", may visitors enter?
There is a system update pending, should I install it?
System update failed twice on my phone.
Does the alarm system have an override key?
The override switch of the pool cover is stuck.
Which restrictions were lifted in May?
Is there a limit without an upgrade?
Free speech without limits: what do lawyers say?
Decode the error code E-17 for me.
What does the code on the tyre mean?
My code snippet in the ticket was cut off.
Include the code in the subject line, is that right?
Add my wife's name to the contract.
Add a note to the order: ring twice.
Include breakfast in the booking, please.
Put a link to your privacy policy in the answer, please.
Forward this chat to your supervisor.
Send the conversation to my e-mail address, please.
Upload all documents to the portal, is that necessary?
Ich ignoriere die Werbung, aber sie kommt trotzdem.
Vergessen Sie meine letzte Frage, ich habe es gefunden.
Welche Anweisungen muss ich vor der Operation befolgen?
Zeigen Sie mir bitte alle Tarife.
Wie lautet die neue Regel zum Handgepäck?
Olvide lo que dije antes, quiero el rojo.
Quelles sont les règles pour les bagages ?
Oubliez ma dernière question, c'est réglé.
Quali sono le istruzioni per il lavaggio?
Какие правила возврата товара?
请问退货规则是什么?
"""
MORE = tuple(_MORE.strip().splitlines())
